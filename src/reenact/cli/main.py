"""The `reenact` command: find the subcommand, run it, turn errors into one clear line."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

import click

from reenact import __version__
from reenact.errors import EXIT_BUG, EXIT_INTERRUPTED, EXIT_USAGE, ReenactError

COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("run", "Run a script, a module or any command, and record it"),
    "runs": ("runs", "List runs"),
    "show": ("show", "Show everything about a run"),
    "compare": ("compare", "Compare runs side by side"),
    "diff": ("diff", "Show what differs between two runs"),
    "reproduce": ("reproduce", "Run a result again and say whether it came back"),
    "judge": ("verdict", "Say whether runs show the result of another one again"),
    "verdict": ("verdict", "Show what came of reproducing a run"),
    "claims": ("claims", "Check what the project claims"),
    "importance": ("importance", "Say which flags mattered"),
    "lineage": ("lineage", "Show the runs, data and files before a run and after it"),
    "whence": ("whence", "Say where a file comes from"),
    "graph": ("graph", "Show where a run comes from and what was made of it"),
    "prune": ("prune", "Find which changed flag made the difference"),
    "ls": ("files", "List a run's files"),
    "cat": ("files", "Print one of a run's files"),
    "open": ("files", "Open a run's directory or file"),
    "path": ("files", "Print where a run's directory or file is"),
    "log": ("log", "Print what a run printed"),
    "watch": ("watch", "Watch a run's metrics live"),
    "stop": ("stop", "Stop running runs"),
    "wait": ("wait", "Wait until runs have ended"),
    "queue": ("queue", "Start the runs that were set aside"),
    "priority": ("queue", "Say which staged runs are started first"),
    "label": ("notes", "Label a run"),
    "tag": ("notes", "Add and remove tags"),
    "comment": ("notes", "Comment on a run"),
    "mark": ("notes", "Mark runs, or unmark them"),
    "select": ("select", "Print the ids of runs, for the shell"),
    "rm": ("trash", "Move runs to the trash"),
    "restore": ("trash", "Bring runs back from the trash"),
    "purge": ("trash", "Delete runs in the trash for good"),
    "gc": ("upkeep", "Free the space of source that no run needs"),
    "fsck": ("upkeep", "Check every record and blob of the store"),
    "doctor": ("doctor", "Say what was and was not captured, and why"),
    "lock": ("lock", "Print the packages of a run, pinned by hashes"),
    "container": ("container", "Write a container that runs a run again"),
    "export": ("export", "Write runs with all that they need into one file"),
    "import": ("import_", "Take the runs of a bundle into the store"),
    "detect": ("detect", "Show what is known of this machine and environment"),
    "install-hook": ("install_hook", "Let the probe into processes that ignore PYTHONPATH"),
    "ops": ("ops", "List the operations of the project file and of packages"),
    "models": ("models", "List the models of the project file and of packages"),
    "help": ("help", "Show the flags of an operation"),
    "check": ("check", "Say what is wrong with a project file"),
    "completion": ("completion", "Print the completion script of a shell"),
}
"""Name -> module below `reenact.cli`, and one line. Modules are imported when they are needed."""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called, not when help lists them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the names in the order in which help shows them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import a command."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module = import_module(f"reenact.cli.{entry[0]}")
        command = getattr(module, f"{cmd_name.replace('-', '_')}_command")
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; name the nearest when there is none of that name."""
        name = args[0] if args else ""
        if args and name not in COMMANDS and not name.startswith("-"):
            from reenact.errors import UsageError
            from reenact.project.flag_text import nearest

            close = nearest(name, COMMANDS)
            hint = f"did you mean `reenact {close}`?" if close else "see `reenact --help`"
            if os.path.exists(name):
                hint = f"to run it: `reenact run {name}`"
            raise UsageError(f"there is no command `{name}`", hint=hint)
        return super().resolve_command(ctx, args)


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Examples: reenact run train.py lr=0.1 · reenact compare · reenact diff 1 2",
)
@click.version_option(__version__, "-V", "--version", message="reenact %(version)s")
@click.option("-H", "--home", metavar="DIR", help="The store to use, instead of $REENACT_HOME.")
@click.option("-C", "--directory", metavar="DIR", help="Act as if started in this directory.")
@click.pass_context
def cli(ctx: click.Context, home: str | None, directory: str | None) -> None:
    """Run it again, get the same result, and prove it."""
    if directory is not None:
        try:
            os.chdir(directory)
        except OSError as error:
            raise ReenactError(f"cannot go to `{directory}`: {error.strerror}") from None
    ctx.obj = home


def run_command_line(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with its status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    sys.exit(_status_of(words))


def _status_of(words: list[str]) -> int:
    try:
        result = cli.main(args=words, prog_name="reenact", standalone_mode=False)
        sys.stdout.flush()
    except ReenactError as error:
        _complain(error, words)
        return error.exit_status
    except click.exceptions.Exit as leave:
        return leave.exit_code
    except click.UsageError as error:
        return _complain_of_usage(error, words)
    except (click.Abort, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except Exception:  # noqa: BLE001  # our own bug keeps its traceback, and has its own status
        import traceback

        traceback.print_exc()
        print("\nthis is a bug in Reenact; please report it with the lines above", file=sys.stderr)
        return EXIT_BUG
    return result if isinstance(result, int) else 0


def _complain(error: ReenactError, words: list[str]) -> None:
    if "--json" in words:
        from reenact.model.record import to_json

        value: dict[str, Any] = {"code": error.code, "message": error.message, "hint": error.hint}
        print(to_json({"ok": False, "error": value}).decode(), file=sys.stderr)
        return
    from reenact.cli.output import style, visible

    # A name in it may hold anything, line ends too.
    print(f"{style('error', 'red')}: {visible(error.message)}", file=sys.stderr)
    if error.hint:
        print(f"\n{style('hint', 'cyan')}: {visible(error.hint)}", file=sys.stderr)


def _complain_of_usage(error: click.UsageError, words: list[str]) -> int:
    from reenact.errors import UsageError

    message = error.format_message().rstrip(".")
    message = message[:1].lower() + message[1:]
    command = error.ctx.command_path if error.ctx is not None else "reenact"
    hint = f"see `{command} --help`"
    if isinstance(error, click.NoSuchOption) and command.endswith(" run"):
        hint = f"a flag of the script is `{error.option_name.lstrip('-')}=VALUE`; {hint}"
    _complain(UsageError(message, hint=hint), words)
    return EXIT_USAGE
