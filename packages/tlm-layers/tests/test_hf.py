import json
import re
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from tlm_layers import ModelConfig, TransformerLM
from tlm_layers.hf import (
    config_from_hf,
    config_to_hf,
    load_hf,
    save_hf,
    weights_from_hf,
    weights_to_hf,
)

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
SMALL = ModelConfig(
    vocab_size=50,
    context_length=16,
    d_model=32,
    num_layers=2,
    num_heads=4,
    num_kv_heads=2,
    d_ff=48,
)
SMALL_HF = config_to_hf(SMALL)


@pytest.fixture(autouse=True, scope="module")
def offline():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        transformers.utils.logging.disable_progress_bar()
        yield
        transformers.utils.logging.enable_progress_bar()


@st.composite
def shapes(draw):
    """Sizes of a small model by Hugging Face's names, heads grouped or not."""
    num_kv_heads = draw(st.integers(1, 3))
    num_heads = num_kv_heads * draw(st.integers(1, 3))
    return {
        "vocab_size": draw(st.integers(20, 40)),
        "hidden_size": num_heads * 16,
        "intermediate_size": draw(st.integers(8, 40)),
        "num_hidden_layers": draw(st.integers(1, 3)),
        "num_attention_heads": num_heads,
        "num_key_value_heads": num_kv_heads,
        "max_position_embeddings": 64,
        "rms_norm_eps": draw(st.sampled_from([1e-6, 1e-5, 1e-3])),
        "tie_word_embeddings": draw(st.booleans()),
    }


def rope(theta, scaling=None):
    return {"rope_theta": theta, **(scaling or {"rope_type": "default"})}


@st.composite
def hf_configs(draw):
    """Random configs of each family that has our parts."""
    shape = draw(shapes())
    theta = draw(st.sampled_from([100.0, 10000.0, 1000000.0]))
    family = draw(st.sampled_from(["llama2", "llama3", "smollm2", "mistral", "qwen3"]))
    window = draw(st.sampled_from([None, 1, 5, 64]))
    head_dim = 2 * draw(st.integers(2, 6))
    if family == "llama2":
        return transformers.LlamaConfig(**shape, rope_parameters=rope(theta))
    if family == "llama3":
        return transformers.LlamaConfig(**shape, rope_parameters=rope(theta, LLAMA3))
    if family == "smollm2":
        return transformers.LlamaConfig(
            **shape | {"tie_word_embeddings": True}, rope_parameters=rope(theta), rope_scaling=None
        )
    if family == "mistral":
        return transformers.MistralConfig(
            **shape, head_dim=head_dim, sliding_window=window, rope_parameters=rope(theta)
        )
    return transformers.Qwen3Config(
        **shape | {"hidden_size": draw(st.integers(16, 40))},  # heads need not divide it
        head_dim=head_dim,
        use_sliding_window=window is not None,
        sliding_window=window,
        max_window_layers=0,
        rope_parameters=rope(theta, draw(st.sampled_from([None, LLAMA3]))),
    )


@st.composite
def our_configs(draw):
    """Random configs that Hugging Face has a model for."""
    num_kv_heads = draw(st.integers(1, 3))
    num_heads = num_kv_heads * draw(st.integers(1, 3))
    attention = draw(st.sampled_from(["full", "sliding_window"]))
    return ModelConfig(
        vocab_size=draw(st.integers(20, 40)),
        context_length=64,
        d_model=draw(st.integers(16, 40)),
        num_layers=draw(st.integers(1, 3)),
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        head_dim=2 * draw(st.integers(2, 6)),
        d_ff=draw(st.integers(8, 40)),
        norm_eps=draw(st.sampled_from([1e-6, 1e-5, 1e-3])),
        rope_theta=draw(st.sampled_from([100.0, 10000.0, 1000000.0])),
        **draw(
            st.sampled_from(
                [{}, {"rope_scaling": "llama3", "rope_factor": 4.0, "rope_original_context": 16}]
            )
        ),
        attention=attention,
        window_size=draw(st.sampled_from([None, 1, 5, 64]))
        if attention == "sliding_window"
        else None,
        qk_norm=draw(st.booleans()),
        tie_embeddings=draw(st.booleans()),
    )


@torch.no_grad()
def randomised(model):
    """The model with weights that make logits of order one, and gains that are not all one."""
    for weight in model.parameters():
        if weight.ndim == 1:
            torch.nn.init.normal_(weight, mean=1.0, std=0.3)
        else:
            torch.nn.init.normal_(weight, std=weight.shape[1] ** -0.5)
    return model.eval()


def assert_same_logits(ours, theirs, seq=24):
    token_ids = torch.randint(ours.config.vocab_size, (2, seq))
    with torch.no_grad():
        expected = theirs(token_ids).logits
        # Sums round by the size of what they add: logits of order ten may differ by ten times more.
        atol = 1e-5 * max(1.0, expected.abs().max().item())
        torch.testing.assert_close(ours(token_ids), expected, rtol=0, atol=atol)


@settings(max_examples=60, deadline=None)
@given(hf_configs())
def test_logits_equal_those_of_the_model_that_was_loaded(hf_config):
    theirs = randomised(transformers.AutoModelForCausalLM.from_config(hf_config))
    with tempfile.TemporaryDirectory() as folder:
        theirs.save_pretrained(folder)
        ours = load_hf(folder)
        assert_same_logits(ours, theirs)
        assert {weight.dtype for weight in ours.parameters()} == {torch.float32}


@settings(max_examples=60, deadline=None)
@given(our_configs())
def test_logits_equal_those_of_the_model_that_was_saved(config):
    ours = randomised(TransformerLM(config))
    with tempfile.TemporaryDirectory() as folder:
        save_hf(ours, Path(folder) / "new")
        theirs = transformers.AutoModelForCausalLM.from_pretrained(Path(folder) / "new")
        assert theirs.dtype == torch.float32
        assert_same_logits(ours, theirs)


@given(our_configs(), st.sampled_from([torch.float32, torch.bfloat16, torch.float16]))
def test_saved_and_loaded_is_bit_equal(config, dtype):
    model = randomised(TransformerLM(config, dtype=dtype))
    with tempfile.TemporaryDirectory() as folder:
        save_hf(model, folder)
        back = load_hf(folder)
    assert back.config == config.resolved()
    ours, theirs = model.state_dict(), back.state_dict()
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert {weight.dtype for weight in back.parameters()} == {dtype}


@given(our_configs())
def test_config_there_and_back(config):
    hf = json.loads(json.dumps(config_to_hf(config)))
    assert config_from_hf(hf) == config.resolved()


@given(our_configs())
def test_weights_there_and_back(config):
    state = TransformerLM(config).state_dict()
    back = weights_from_hf(weights_to_hf(state, config), config)
    assert list(back) == list(state)
    assert all(torch.equal(back[name], state[name]) for name in state)
    turned = [n for n in state if n.endswith(("q_proj.weight", "k_proj.weight", "_norm.weight"))]
    assert all(
        (back[name].data_ptr() == state[name].data_ptr()) == (name not in turned) for name in state
    )


@pytest.mark.parametrize("max_shard_bytes", [1, 4000, 10000])
def test_sharded_weights_both_ways(tmp_path, max_shard_bytes):
    ours = randomised(TransformerLM(SMALL))
    save_hf(ours, tmp_path / "ours", max_shard_bytes=max_shard_bytes)
    files = sorted(file.name for file in (tmp_path / "ours").glob("*.safetensors"))
    assert files[0] == f"model-00001-of-{len(files):05d}.safetensors"
    for file in files:
        weights = safetensors.torch.load_file(tmp_path / "ours" / file)
        assert len(weights) == 1 or sum(w.nbytes for w in weights.values()) <= max_shard_bytes
    index = json.loads((tmp_path / "ours/model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == 4 * ours.num_parameters()
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours")
    assert_same_logits(ours, theirs, seq=16)
    theirs.save_pretrained(tmp_path / "theirs", max_shard_size=max_shard_bytes)
    assert not (tmp_path / "theirs/model.safetensors").exists()
    assert_same_logits(load_hf(tmp_path / "theirs"), theirs, seq=16)


def test_dtype_and_device_of_a_loaded_model(tmp_path):
    save_hf(TransformerLM(SMALL, dtype=torch.bfloat16), tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == "bfloat16"
    assert {weight.dtype for weight in load_hf(tmp_path).parameters()} == {torch.bfloat16}
    wide = load_hf(tmp_path, device="cpu", dtype=torch.float32)
    assert {weight.dtype for weight in wide.parameters()} == {torch.float32}


def test_a_loaded_model_can_be_trained_and_leaves_its_files_alone(tmp_path):
    save_hf(TransformerLM(SMALL), tmp_path)
    before = (tmp_path / "model.safetensors").read_bytes()
    model = load_hf(tmp_path)
    token_ids = torch.randint(50, (2, 16))
    model.loss(token_ids, token_ids).backward()
    torch.optim.SGD(model.parameters(), lr=1.0).step()
    assert (tmp_path / "model.safetensors").read_bytes() == before


def test_generation_with_a_cache_goes_on_as_theirs_does(tmp_path):
    config = replace(SMALL, qk_norm=True, rope_scaling="llama3", rope_original_context=8)
    ours = randomised(TransformerLM(config))
    save_hf(ours, tmp_path, eos_token_id=None)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    token_ids = torch.randint(50, (1, 4))
    generated = theirs.generate(
        token_ids, attention_mask=torch.ones_like(token_ids), do_sample=False, max_length=16
    )
    cache = ours.new_cache()
    out, step = token_ids, token_ids
    while out.shape[-1] < 16:
        step = ours(step, cache=cache)[:, -1:].argmax(-1)
        out = torch.cat((out, step), dim=-1)
    assert torch.equal(out, generated)


# What config.json says.

SMOLLM2_135M = {  # as on the Hub, HuggingFaceTB/SmolLM2-135M
    "architectures": ["LlamaForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "hidden_act": "silu",
    "hidden_size": 576,
    "initializer_range": 0.041666666666666664,
    "intermediate_size": 1536,
    "is_llama_config": True,
    "max_position_embeddings": 8192,
    "model_type": "llama",
    "num_attention_heads": 9,
    "num_hidden_layers": 30,
    "num_key_value_heads": 3,
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-05,
    "rope_interleaved": False,
    "rope_scaling": None,
    "rope_theta": 100000,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.40.1",
    "use_cache": True,
    "vocab_size": 49152,
}


def test_smollm2():
    config = config_from_hf(SMOLLM2_135M)
    assert config == ModelConfig(
        vocab_size=49152,
        context_length=8192,
        d_model=576,
        num_layers=30,
        num_heads=9,
        num_kv_heads=3,
        head_dim=64,
        d_ff=1536,
        rope_theta=100000.0,
        tie_embeddings=True,
    )
    assert TransformerLM(config, device="meta").num_parameters() == 134_515_008


def test_llama_3_1_as_transformers_4_wrote_it():
    hf = {
        **SMALL_HF,
        "rope_theta": 500000.0,
        "rope_scaling": {
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
            "rope_type": "llama3",
        },
    }
    del hf["rope_parameters"]
    assert (
        config_from_hf(hf)
        == replace(
            SMALL, rope_theta=500000.0, rope_scaling="llama3", rope_original_context=8192
        ).resolved()
    )


def test_the_old_name_of_the_rope_type_and_defaults_of_missing_keys():
    hf = {key: value for key, value in SMALL_HF.items() if not key.startswith("rope")}
    hf["rope_scaling"] = {"type": "llama3", **{k: LLAMA3[k] for k in LLAMA3 if "factor" in k}}
    for key in ("num_key_value_heads", "head_dim", "rms_norm_eps", "tie_word_embeddings"):
        del hf[key]
    assert (
        config_from_hf(hf)
        == replace(
            SMALL,
            num_kv_heads=4,
            norm_eps=1e-6,
            rope_scaling="llama3",
            rope_original_context=16,  # the context, where nothing else is said
        ).resolved()
    )


@pytest.mark.parametrize("name", ["LlamaConfig", "MistralConfig", "Qwen3Config"])
def test_missing_keys_mean_what_they_mean_to_transformers(name):
    theirs = getattr(transformers, name)
    sizes = {
        key: SMALL_HF[key]
        for key in (
            *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers"),
            "max_position_embeddings",
        )
    }
    sizes |= {"num_attention_heads": 32, "hidden_size": 256}
    config = config_from_hf({"model_type": theirs.model_type, **sizes})
    full = theirs(**sizes)
    assert config.num_kv_heads == full.num_key_value_heads
    assert config.head_dim == full.head_dim
    assert config.norm_eps == full.rms_norm_eps
    assert config.window_size == getattr(full, "sliding_window", None)
    assert config.rope_theta == full.rope_parameters["rope_theta"]
    assert config.tie_embeddings == full.tie_word_embeddings


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"model_type": "gemma2"},
            "model_type='gemma2' must be one of 'llama', 'mistral', 'qwen3'",
        ),
        ({"model_type": None}, "model_type=None must be one of"),
        ({"attention_bias": True}, "attention_bias=True must be False: projections have no biases"),
        ({"mlp_bias": True}, "mlp_bias=True must be False: projections have no biases"),
        ({"hidden_act": "gelu"}, "hidden_act='gelu' must be 'silu': the gate is a SiLU"),
        ({"attention_dropout": 0.1}, "attention_dropout=0.1 must be 0: there is no dropout"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor=0.5 must be 1: all of a head"),
        ({"rope_interleaved": True}, "rope_interleaved=True must be False"),
        ({"quantization_config": {"bits": 4}}, "quantization_config={'bits': 4} must be None"),
        ({"sliding_window": 8}, "sliding_window=8 must be None: a Llama has none"),
        ({"hidden_size": None}, "hidden_size is missing; the config must have it"),
        (
            {"num_hidden_layers": "2"},
            "num_hidden_layers is '2'; the config must have it as a whole",
        ),
        ({"num_key_value_heads": 3}, "num_heads=4 must be divisible by num_kv_heads=3"),
        (
            {"rope_parameters": {"rope_type": "linear", "factor": 2.0}},
            "rope_type='linear' must be 'default' or 'llama3'",
        ),
        (
            {"rope_parameters": None, "rope_scaling": {"type": "dynamic", "factor": 2.0}},
            "rope_type='dynamic' must be 'default' or 'llama3'",
        ),
        (
            {"rope_parameters": {"rope_type": "yarn", "factor": 2.0}},
            "rope_type='yarn' must be 'default' or 'llama3'",
        ),
        (
            {"rope_parameters": {"rope_type": "llama3", "factor": 2.0}},
            "rope_type='llama3' needs low_freq_factor, high_freq_factor",
        ),
        (
            {"rope_parameters": {"rope_type": "default", "factor": 2.0}},
            "rotary settings that rope_type='default' does not have: factor",
        ),
        (
            {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}},
            "partial_rotary_factor of the rotary settings must be 1",
        ),
        (
            {"rope_scaling": {"rope_type": "linear", "factor": 2.0}},
            "rope_scaling has rope_type='linear' and rope_parameters rope_type='default': remove",
        ),
    ],
)
def test_what_a_config_from_hugging_face_must_not_have(change, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        config_from_hf({**SMALL_HF, **change})


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"use_sliding_window": True, "max_window_layers": 1}, "full_attention and sliding"),
        ({"use_sliding_window": False, "layer_types": ["sliding_attention"] * 2}, "sliding"),
        ({"layer_types": ["full_attention", "linear_attention"]}, "full_attention and linear"),
    ],
)
def test_layers_of_qwen3_that_differ(change, found):
    hf = {**config_to_hf(replace(SMALL, qk_norm=True)), **change}
    with pytest.raises(ValueError, match=f"layers of {found}.*must be of one kind"):
        config_from_hf(hf)


def test_a_window_that_is_written_but_not_switched_on():
    hf = {**config_to_hf(replace(SMALL, qk_norm=True)), "sliding_window": 4096}
    assert config_from_hf(hf).attention == "full"
    on = {**hf, "use_sliding_window": True}  # from layer 2 on, that is nowhere
    assert config_from_hf(on).attention == "full"


def test_unknown_keys_are_named():
    with pytest.warns(UserWarning, match="model_type='llama' were not read: 'unsloth', 'x'"):
        assert config_from_hf({**SMALL_HF, "unsloth": True, "x": 1}) == SMALL.resolved()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"norm": "layernorm"}, "norm='layernorm' must be 'rmsnorm'"),
        ({"norm": "none"}, "norm='none' must be 'rmsnorm'"),
        ({"norm_place": "post"}, "norm_place='post' must be 'pre'"),
        ({"position": "none"}, "position='none' must be 'rope'"),
        ({"attention": "linear"}, "attention='linear' must be 'full' or 'sliding_window'"),
        ({"attention": "strided"}, "attention='strided' must be 'full' or 'sliding_window'"),
        ({"ffn": "relu2"}, "ffn='relu2' must be 'swiglu'"),
        ({"logit_soft_cap": 30.0}, "logit_soft_cap=30.0 must be None"),
    ],
)
def test_what_hugging_face_has_no_model_for(tmp_path, change, message):
    config = replace(SMALL, **change)
    with pytest.raises(ValueError, match=re.escape(message)):
        config_to_hf(config)
    with pytest.raises(ValueError, match=re.escape(message)):
        save_hf(TransformerLM(config), tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "model_type"),
    [
        ({}, "llama"),
        ({"qk_norm": True}, "qwen3"),
        ({"attention": "sliding_window"}, "mistral"),
        ({"attention": "sliding_window", "qk_norm": True}, "qwen3"),
        ({"d_model": 33, "head_dim": 8}, "mistral"),
    ],
)
def test_which_model_it_becomes(change, model_type):
    assert config_to_hf(replace(SMALL, **change))["model_type"] == model_type


# What state dicts hold.


def hf_state(config=SMALL):
    return weights_to_hf(randomised(TransformerLM(config)).state_dict(), config)


def test_missing_and_unknown_weights_are_named():
    state = hf_state()
    state["model.layers.0.self_attn.q_proj.bias"] = torch.zeros(32)
    with pytest.raises(
        ValueError, match=r"not of this model: model.layers.0.self_attn.q_proj.bias"
    ):
        weights_from_hf(state, SMALL)
    state = hf_state()
    del state["model.norm.weight"], state["lm_head.weight"]
    with pytest.raises(ValueError, match=r"missing: lm_head\.weight, model\.norm\.weight"):
        weights_from_hf(state, SMALL)
    with pytest.raises(ValueError, match="and 16 more"):
        weights_from_hf({}, SMALL)


def test_weights_of_another_shape_or_type():
    with pytest.raises(ValueError, match=r"k_proj.weight is of shape \(16, 32\); .* \(32, 32\)"):
        weights_from_hf(hf_state(), replace(SMALL, num_kv_heads=4))
    state = hf_state()
    state["model.norm.weight"] = state["model.norm.weight"].to(torch.int8)
    with pytest.raises(ValueError, match=r"model.norm.weight is torch.int8; weights must be"):
        weights_from_hf(state, SMALL)


def test_tables_of_old_checkpoints_are_left_out():
    state = hf_state()
    state["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(4)
    assert len(weights_from_hf(state, SMALL)) == len(state) - 1


def test_an_output_projection_beside_tied_embeddings():
    tied = replace(SMALL, tie_embeddings=True)
    state = hf_state(tied)
    assert "lm_head.weight" not in state
    state["lm_head.weight"] = state["model.embed_tokens.weight"].clone()
    assert "lm_head.weight" not in weights_from_hf(state, tied)
    state["lm_head.weight"][3, 1] += 1
    with pytest.raises(ValueError, match=r"lm_head.weight differs from model.embed_tokens.weight"):
        weights_from_hf(state, tied)


# What lies on the disk.


@pytest.fixture
def saved(tmp_path):
    save_hf(TransformerLM(SMALL), tmp_path / "model")
    return tmp_path / "model"


def test_a_folder_that_is_not_there():
    with pytest.raises(FileNotFoundError, match=r"SmolLM2-135M is not a folder; .*hf download"):
        load_hf("HuggingFaceTB/SmolLM2-135M")


def test_files_that_are_missing(saved):
    weights = (saved / "model.safetensors").rename(saved / "kept")
    with pytest.raises(FileNotFoundError, match=r"has neither model\.safetensors nor"):
        load_hf(saved)
    weights.rename(saved / "pytorch_model.bin")
    with pytest.raises(ValueError, match="pickled weights alone, which may run any code"):
        load_hf(saved)
    (saved / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"config\.json is missing"):
        load_hf(saved)


@pytest.mark.parametrize("content", ["{", "[]", '{"model_type": "bert"}', "\udc80"])
def test_a_damaged_config(saved, content):
    (saved / "config.json").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(ValueError, match=re.escape(f"{saved / 'config.json'}: ")):
        load_hf(saved)


@pytest.mark.parametrize("size", [0, 4, 100, -1])
def test_a_truncated_file(saved, size):
    path = saved / "model.safetensors"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ValueError, match=f"{re.escape(str(path))} is no safetensors file, or a"):
        load_hf(saved)


@pytest.mark.parametrize("place", [3, 9, 40])
def test_a_flipped_bit_in_the_header(saved, place):
    path = saved / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[place] ^= 0x80
    path.write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(str(path))):
        load_hf(saved)


def test_weights_that_do_not_fit_the_config_are_named_with_the_folder(saved):
    hf = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps({**hf, "tie_word_embeddings": True}))
    with pytest.raises(ValueError, match=f"{re.escape(str(saved))}: lm_head.weight differs"):
        load_hf(saved)


def test_shards_that_are_missing_or_incomplete(tmp_path):
    save_hf(TransformerLM(SMALL), tmp_path, max_shard_bytes=4000)
    first, second, *_ = sorted(tmp_path.glob("*.safetensors"))
    shutil.copy(first, second)
    with pytest.raises(ValueError, match=rf"{second.name} lacks model\..*, which model\.safete"):
        load_hf(tmp_path)
    second.unlink()
    with pytest.raises(FileNotFoundError, match=f"{second.name} is missing"):
        load_hf(tmp_path)


@pytest.mark.parametrize("content", ["{}", '{"weight_map": {"x": "../y"}}', '{"weight_map": [1]}'])
def test_an_index_that_leads_elsewhere(saved, content):
    (saved / "model.safetensors").unlink()
    (saved / "model.safetensors.index.json").write_text(content)
    with pytest.raises(ValueError, match="weight_map must give a file of this folder for each"):
        load_hf(saved)


def test_nothing_is_written_over(saved):
    before = (saved / "model.safetensors").read_bytes()
    with pytest.raises(FileExistsError, match="exists and is not empty"):
        save_hf(TransformerLM(SMALL), saved)
    with pytest.raises(FileExistsError, match="exists and is not empty"):
        save_hf(TransformerLM(SMALL), saved / "config.json")
    assert (saved / "model.safetensors").read_bytes() == before


def test_an_empty_folder_is_taken(tmp_path):
    (tmp_path / "empty").mkdir()
    save_hf(TransformerLM(SMALL), tmp_path / "empty")
    assert load_hf(tmp_path / "empty").config == SMALL.resolved()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not limit the size of files")
def test_a_disk_without_room_leaves_nothing_behind(tmp_path):
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))  # the weights take more
    try:
        with pytest.raises(OSError, match=r"cannot write .*model\.safetensors: .*File too large"):
            save_hf(TransformerLM(SMALL), tmp_path / "new")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_a_shard_of_nothing(tmp_path):
    with pytest.raises(ValueError, match="max_shard_bytes=0 must be positive"):
        save_hf(TransformerLM(SMALL), tmp_path, max_shard_bytes=0)


def test_without_safetensors(saved, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    for call in (lambda: load_hf(saved), lambda: save_hf(TransformerLM(SMALL), tmp_path / "new")):
        with pytest.raises(ImportError, match=r"pip install 'tlm-layers\[hf\]'"):
            call()
