"""The page that `bpe-tok show --html` writes: one file with all that it needs."""

import html
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import bpe_tok
from bpe_tok.commands.visible import visible
from bpe_tok.tokenizer import Tokenizer

_TEMPLATE = Path(__file__).with_name("page.html")


def page(tokenizer: Tokenizer, title: str, ids: Sequence[int]) -> str:
    """Make a page that shows a text with its tokens in colours.

    Args:
        tokenizer: what the ids are of.
        title: what to call the text.
        ids: the text's token ids.

    Returns:
        HTML.
    """
    uses = Counter(ids)
    vocab = tokenizer.vocab
    size = sum(len(vocab[token_id]) * times for token_id, times in uses.items())
    special = set(tokenizer.special_tokens.values())
    parts = []
    for token_id in ids:
        lines = [html.escape(visible(line), quote=False) for line in vocab[token_id].split(b"\n")]
        shown = "<u>⏎</u>\n".join(lines)
        # A last line end comes after the token, so that its id stands on the same line.
        end = "\n" if shown.endswith("\n") else ""
        kind = " class=s" if token_id in special else ""
        parts.append(f"<i{kind}>{shown.removesuffix(end)}</i>{end}")
    facts = [
        ("tokens", f"{len(ids):,}"),
        ("bytes", f"{size:,}"),
        ("bytes per token", f"{size / len(ids):.2f}" if ids else "-"),
        ("different tokens", f"{len(uses):,}"),
        ("vocab size", f"{tokenizer.vocab_size:,}"),
        ("pattern", tokenizer.pattern if tokenizer.pattern in bpe_tok.PATTERNS else "its own"),
    ]
    values = {
        "title": html.escape(title),
        "facts": "".join(
            f"<div><dt>{name}</dt><dd>{html.escape(value)}</dd></div>" for name, value in facts
        ),
        "lengths": _lengths(tokenizer, uses),
        "text": "".join(parts),
        # "<" would end the script if "/script" followed.
        "ids": json.dumps(list(ids), separators=(",", ":")),
        "tokens": json.dumps(
            {token_id: vocab[token_id].hex(" ") for token_id in uses}, separators=(",", ":")
        ),
        "version": bpe_tok.__version__,
        "engine": bpe_tok.engine,
    }
    template = _TEMPLATE.read_text(encoding="utf-8")
    # One pass, so that nothing in the text is taken for a place to fill.
    pieces = template.split("{{")
    return pieces[0] + "".join(
        values[name] + rest for name, _, rest in (piece.partition("}}") for piece in pieces[1:])
    )


def _lengths(tokenizer: Tokenizer, uses: Counter[int]) -> str:
    """Draw how many tokens of the text have each length in bytes."""
    counts: Counter[int] = Counter()
    for token_id, times in uses.items():
        counts[min(len(tokenizer.vocab[token_id]), 16)] += times
    most = max(counts.values(), default=1)
    total = max(counts.total(), 1)
    return "".join(
        f'<li title="{counts[length]:,} tokens, {counts[length] / total:.1%}">'
        f'<span style="height:{100 * counts[length] / most:.1f}%"></span>'
        f"{length if length < 16 else '16+'}</li>"
        for length in range(1, max(counts, default=1) + 1)
    )
