import argparse
import json
import logging
import subprocess
import sys

import pytest

from anyviews import __version__
from anyviews.cli import main as cli


class Verb:
    """A verb that does what its test says."""

    HELP = "a verb for tests"

    def __init__(self, action):
        self.action = action

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--count", type=int, default=1)

    def run(self, arguments: argparse.Namespace) -> dict:
        return self.action(arguments)

    def describe(self, summary: dict) -> str:
        return f"counted to {summary['count']}"


@pytest.fixture
def run_verb(monkeypatch):
    """Run the command with one verb, `try`, that performs the given action."""

    def run(action, *arguments):
        monkeypatch.setitem(sys.modules, "anyviews.cli.try", Verb(action))
        monkeypatch.setattr(cli, "VERBS", ("try",))
        return cli.main(["try", *arguments])

    return run


def count(arguments):
    logging.getLogger("anyviews.something").info("counting")
    sys.stdout.write("noise of a library\n")
    return {"count": arguments.count}


def raising(error):
    def action(arguments):
        raise error

    return action


def test_success_prints_the_description(run_verb, capsys):
    assert run_verb(count, "--count", "3") == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == "counted to 3"
    assert err == "counting\n"


def test_json_is_all_there_is_on_stdout(run_verb, capsys):
    assert run_verb(count, "--count", "3", "--json") == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == {"count": 3}
    assert err == "counting\nnoise of a library\n"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ValueError("bad value"), 3),
        (FileNotFoundError("bad file"), 3),
        (PermissionError("bad folder"), 3),
        (ImportError("pip install this"), 4),
        (RuntimeError("surprise"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_errors_have_codes_and_messages(run_verb, capsys, error, code):
    message = str(error) or "interrupted"
    assert run_verb(raising(error)) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err and "Traceback" not in err

    assert run_verb(raising(error), "--json", "--debug") == code
    out, err = capsys.readouterr()
    reported = json.loads(out)["error"]
    assert (reported["type"], reported["exit_code"]) == (type(error).__name__, code)
    assert message in reported["message"]
    assert "Traceback" in err


def test_usage_errors(run_verb, capsys):
    assert run_verb(count, "--count", "many", "--json") == 2
    out, err = capsys.readouterr()
    assert "--count" in json.loads(out)["error"]["message"]
    assert "many" in err and "usage: anyviews try" in err


@pytest.mark.parametrize("arguments", [[], ["no-such-verb"], ["--no-such-option"], ["doctor", "surplus"]])
def test_unusable_command_lines_are_usage_errors(capsys, arguments):
    assert cli.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "usage: anyviews" in err


def test_handlers_do_not_pile_up(run_verb):
    before = list(logging.getLogger("anyviews").handlers)
    run_verb(count)
    run_verb(raising(ValueError("x")))
    assert logging.getLogger("anyviews").handlers == before


def test_version(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"anyviews {__version__}\n"


def test_help_lists_every_verb_without_loading_torch():
    code = (
        "import sys\nfrom anyviews.cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *text, torch_loaded = done.stdout.splitlines()
    assert torch_loaded == "False"
    assert set(cli.VERBS) <= {line.split()[0] for line in text if line.strip()}


def test_command_and_module_are_the_same_program():
    done = subprocess.run([sys.executable, "-m", "anyviews.cli.main", "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"anyviews {__version__}\n")
