"""`python -m reenact` and the `reenact` command."""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    from reenact.cli.main import run_command_line

    run_command_line()


if __name__ == "__main__":
    main()
