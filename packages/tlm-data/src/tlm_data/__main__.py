"""`python -m tlm_data` is `tlm-data`."""

import sys


def main() -> None:
    """Run the command, which may also be stopped while its modules are imported."""
    try:
        from tlm_data import cli
    except KeyboardInterrupt:
        print("tlm-data: stopped", file=sys.stderr)
        sys.exit(130)
    cli.main()


if __name__ == "__main__":
    main()
