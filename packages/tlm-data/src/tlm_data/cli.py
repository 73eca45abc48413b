"""The `tlm-data` command."""

import dataclasses
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from tlm_data.command_line import parse_arguments
from tlm_data.engines import EngineName, WorkerLostError
from tlm_data.read_options import Errors
from tlm_data.sources import Format
from tlm_data.tokenizer import END_OF_TEXT

_DESCRIPTION = """Turn raw text into token files that training reads, and look into them.

  tlm-data prepare text/ --tokenizer TOKENIZER --out corpus --val-fraction 0.01
  tlm-data inspect corpus
  tlm-data verify corpus"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prepare:
    """Tokenize text into a corpus: a folder with train/, val/ and tokenizer/.

    Memory stays bounded, whatever the size of the text. When it is stopped or killed, the same
    command goes on where it was; the corpus appears when it is complete, and is the same, byte for
    byte, whatever the number of workers.
    """

    sources: tyro.conf.Positional[tuple[str, ...]]
    """Files, folders, globs or URLs: plain text, .jsonl and .parquet, also .gz and .zst. Or stdlib,
    the Python sources of this machine."""
    tokenizer: Path
    """Folder of the tokenizer, which bpe-tok trained or read."""
    out: Path
    """Folder to make, outside of the sources."""
    val: tuple[str, ...] = ()
    """Sources of validation text, none of which is among the others."""
    val_fraction: float | None = None
    """Share of the documents to hold out for validation; of a single document, its tail."""
    append_eot: bool = True
    """Put the end token after each document."""
    end_token: str = END_OF_TEXT
    """The end token; in the text of a document it is ordinary text."""
    separator: str | None = END_OF_TEXT
    r"""What divides a plain text file into documents; \n, \r, \t and \\ are read as in Python.
    None: each file is one."""
    field: str = "text"
    """The JSONL field or Parquet column that has the text."""
    format: Format | None = None
    """How all sources are to be read. None: as their names say, and if those do not, as text."""
    max_tokens: int | None = None
    """Most training tokens; the last document is cut there. Text that has fewer is taken whole."""
    min_document_bytes: int = 0
    """Leave out documents that are shorter."""
    max_document_bytes: int | None = None
    """Leave out documents that are longer."""
    errors: Errors = "strict"
    """What to do with text that is not UTF-8: stop, replace what is wrong, or skip the document."""
    engine: EngineName = "processes"
    """Where to work: in this process, in several, or on a Ray cluster."""
    workers: int | None = None
    """How many workers. None: as many as there are CPUs."""
    ray_address: str | None = None
    """The Ray cluster. None: the one RAY_ADDRESS names, else one is started on this machine."""
    rank: int = 0
    """Which process of a job array this is; each makes a part of the shards."""
    world_size: int = 1
    """How many processes the job array has."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inspect:
    """Show what a token store holds: counts, lengths, frequent ids, and samples of its text."""

    path: tyro.conf.Positional[str]
    """A corpus, a token store, or a .bin file of nanoGPT's or llm.c's kind."""
    tokenizer: Path | None = None
    """Folder of the tokenizer that decodes the samples. None: the corpus's own."""
    samples: int = 3
    """How many documents to show the start of."""
    seed: int = 0
    """Chooses them."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verify:
    """Read every file of a token store and compare it with its checksum."""

    path: tyro.conf.Positional[Path]
    """A corpus or a token store."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Download:
    """Fetch a corpus by name; what is there of it already is not fetched again."""

    name: tyro.conf.Positional[str]
    """One of those that `tlm-data corpora` lists."""
    out: Path = Path("data")
    """Folder for its files."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Corpora:
    """List the corpora that can be had by name."""


Command = (
    Annotated[Prepare, tyro.conf.subcommand("prepare")]
    | Annotated[Inspect, tyro.conf.subcommand("inspect")]
    | Annotated[Verify, tyro.conf.subcommand("verify")]
    | Annotated[Download, tyro.conf.subcommand("download")]
    | Annotated[Corpora, tyro.conf.subcommand("corpora")]
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; a user's mistake is one line on stderr and exit code 2."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Samples of text may hold characters that this terminal cannot show.
        sys.stdout.reconfigure(errors="replace")
    try:
        arguments = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
        command = parse_arguments(Command, arguments, prog="tlm-data", description=_DESCRIPTION)
        from tlm_data import commands

        getattr(commands, type(command).__name__.lower())(command)
    except BrokenPipeError:
        # The reader, such as `head`, has enough; what Python would still flush has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except (ValueError, WorkerLostError) as error:
        _fail(str(error))
    except MemoryError:
        _fail("out of memory: use fewer workers")
    except KeyboardInterrupt as error:
        print(f"tlm-data: {str(error) or 'stopped'}", file=sys.stderr)
        sys.exit(130)


def _fail(message: str) -> None:
    print(f"tlm-data: {message}", file=sys.stderr)
    sys.exit(2)
