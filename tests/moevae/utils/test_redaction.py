"""No password of a storage is written: not by a command, nor by a driver, nor into a study's files."""

import logging
import re
import shlex
import sys

import pytest
from rich.console import Console

from moevae.utils import redaction
from studies import __main__ as cli
from studies.cli import ablate
from studies.execution import ablation
from studies.storage import connection as storage
from studies.testing.toy_studies import Bench

URLS = [
    "postgresql+psycopg://me:hunter2x@127.0.0.1:1/db",
    "postgresql+psycopg://me:hun/ter2x@127.0.0.1:1/db",
    "postgresql+psycopg://me:hun@ter2x@127.0.0.1:1/db",
    "postgresql+psycopg://me:hun%40ter2x@127.0.0.1:1/db",
    "postgresql+psycopg://me:hun ter2x'@127.0.0.1:1/db",
    "postgresql+psycopg://me:hun?ter2x@127.0.0.1:1/db",
    "postgresql+psycopg://127.0.0.1:1/db?user=me&password=hunter2x",
    "postgresql+psycopg://:hunter2x@127.0.0.1:1/db",
    "postgresql:me:hunter2x@127.0.0.1/db",
    "postgrsql://me:hunter2x@nowhere/db",
]
LEAK = re.compile("hun(?!g)|ter2x")


@pytest.fixture
def bench(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ablate, "check", lambda configs, execution: None)
    monkeypatch.setattr(redaction, "_known", {})
    return Bench(tmp_path)


@pytest.fixture
def run(bench, capfd):
    """A command with a URL in it, typed; returns the exit code and all that it wrote."""

    def run(command: str, url: str) -> tuple[int, str]:
        typed = shlex.split(command.format(profile=shlex.quote(str(bench.profile)), url=shlex.quote(url)))
        try:
            code = cli.main(typed)
        except SystemExit as stop:
            code = stop.code
        captured = capfd.readouterr()
        assert not LEAK.search(captured.out + captured.err), captured
        return code, captured.err

    return run


@pytest.mark.parametrize("url", URLS)
def test_errors_contain_no_password(run, url):
    for command in (
        "ablate --profile {profile} --storage {url}",
        "ablate --profile {profile} --storge={url}",
        "ablate {url}",
        "search --storage {url}",
    ):
        code, stderr = run(command, url)
        assert code == 2
        assert len(stderr.splitlines()) >= 1
        assert stderr.splitlines()[-1].startswith("error: ")


def test_no_command_writes_a_password(bench, run):
    bench.run()
    for command in (
        "dashboard toy --storage {url}",
        "verify toy --storage={url}",
        "rebuild-storage toy --storage {url}",
    ):
        for url in (URLS[0], *URLS[-4:]):
            assert run(command, url)[0] in (1, 2)
    files = b"".join(path.read_bytes() for path in bench.folder.rglob("*") if path.is_file())
    assert not re.search(b"ter2x", files)


@pytest.mark.parametrize("url", URLS)
def test_an_interrupt_states_how_to_continue_without_it(bench, capfd, monkeypatch, url):
    def interrupted(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(ablation, "run_study", interrupted)
    assert cli.main(["ablate", "--profile", str(bench.profile), "--storage", url]) == 130
    stderr = capfd.readouterr().err
    assert "continue with" in stderr
    assert "--storage" in stderr
    assert not LEAK.search(stderr)


def test_the_environment_names_the_storage(tmp_path, monkeypatch):
    monkeypatch.delenv(storage.VARIABLE, raising=False)
    assert storage.given(None) is None
    monkeypatch.setenv(storage.VARIABLE, "sqlite:///there")
    assert storage.given(None) == "sqlite:///there"
    assert storage.given("sqlite:///here") == "sqlite:///here"
    monkeypatch.setenv(storage.VARIABLE, "")
    assert storage.given(None) is None


def test_a_password_that_is_a_common_word_leaves_other_text_alone():
    url = "postgresql+psycopg://study:study@host/study"
    redaction.register_secret(url)
    message = f"study: 3 runs of the study, storage: {url}"
    assert redaction.redact(message) == (
        "study: 3 runs of the study, storage: postgresql+psycopg://study:***@host/study"
    )
    plain = "http://127.0.0.1:8080/dashboard/studies/1, a@b, seed=3, 12:30:45"
    assert redaction.redact(plain) == plain


def test_messages_of_drivers_contain_no_part_of_a_password():
    message = redaction.without_secrets("invalid port 'se' in 'cret@host'", "postgresql://me:se/cret@host/db")
    assert "cret" not in message
    assert "'se'" not in message


def test_whatever_is_written_while_a_command_runs_is_redacted(capfd):
    url = "postgresql+psycopg://me:hunter2x@host/db"
    with redaction.redacting():
        print("storage:", url)
        print(f"Traceback: password={url.partition(':hunter2x@')[0]}:hunter2x@host", file=sys.stderr)
        Console(stderr=True).print(url, markup=False)
        logging.getLogger("a driver").warning("no answer from %s", url)
    captured = capfd.readouterr()
    assert captured.out == "storage: postgresql+psycopg://me:***@host/db\n"
    assert captured.err.count("***") == 2 + ("no answer" in captured.err)
    assert not LEAK.search(captured.out + captured.err)
