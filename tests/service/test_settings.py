"""Settings: later layers win, and whatever is wrong is told with its file, key and reason."""

from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict, Field

from dockwarden.service.errors import ServiceError
from dockwarden.service.settings import check, load


class Broker(BaseModel):
    host: str = "localhost"
    port: int = Field(default=8883, ge=1, le=65535)


class Sample(BaseModel):
    model_config = ConfigDict(frozen=True)

    root: Path
    bays: list[str] = []
    readings: int = 2
    broker: Broker = Broker()


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def refused(files: list[Path], given: Path | None = None) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        load(Sample, files, given=given, side="agent")
    assert caught.value.code == "settings"
    assert caught.value.do
    return caught.value


def test_later_layers_win_key_by_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system = written(
        tmp_path / "etc.toml", 'root = "/a"\nbays = ["1"]\nreadings = 1\n[broker]\nhost = "a"\nport = 1\n'
    )
    given = written(tmp_path / "given.toml", 'root = "/b"\n[broker]\nport = 2\n')
    monkeypatch.setenv("DOCKWARDEN_AGENT_BROKER__PORT", "3")
    monkeypatch.setenv("DOCKWARDEN_AGENT_BAYS", '["7", "8"]')
    settings = load(Sample, [tmp_path / "absent.toml", system], given=given, side="agent")
    assert settings == Sample(root=Path("/b"), bays=["7", "8"], readings=1, broker=Broker(host="a", port=3))


def test_the_environment_alone_is_enough_and_defaults_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKWARDEN_AGENT_ROOT", "/r")
    assert load(Sample, [], side="agent") == Sample(root=Path("/r"))


def test_an_error_names_the_file_the_key_and_the_reason(tmp_path: Path) -> None:
    first = written(tmp_path / "a.toml", 'root = "/a"\n[broker]\nport = 70000\n')
    second = written(tmp_path / "b.toml", "readings = 1\n[broker]\nhost = 'x'\n")
    error = refused([first, second])
    assert f"{first}: broker.port: " in error.what
    assert "65535" in error.what
    assert error.where == str(first)


def test_an_unknown_key_is_an_error_at_any_depth(tmp_path: Path) -> None:
    path = written(tmp_path / "a.toml", 'root = "/a"\nrooot = 1\n[broker]\nprot = 2\n')
    error = refused([path])
    assert f"{path}: rooot: unknown key" in error.what
    assert f"{path}: broker.prot: unknown key" in error.what


def test_a_missing_key_is_told_as_missing(tmp_path: Path) -> None:
    assert "root: Field required" in refused([written(tmp_path / "a.toml", "readings = 1\n")]).what


@pytest.mark.parametrize("name", ["DOCKWARDEN_AGENT_ROOOT", "DOCKWARDEN_AGENT_BROKER__PROT", "DOCKWARDEN_AGENT_BAYS"])
def test_the_environment_is_checked_as_strictly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    path = written(tmp_path / "a.toml", 'root = "/a"\n')
    monkeypatch.setenv(name, "[not json")
    error = refused([path])
    assert error.where == "the environment"
    assert name.rpartition("_")[2].lower() in error.what.lower()


def test_a_value_is_never_repeated_since_it_may_be_a_secret(tmp_path: Path) -> None:
    path = written(tmp_path / "a.toml", 'root = "/a"\nreadings = "hunter2"\nbroker = "hunter2"\n')
    assert "hunter2" not in str(refused([path]))


@pytest.mark.parametrize("content", [b"root = \n", b"\xff\xfe", b"a = 1\na = 2\n"])
def test_a_broken_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(content)
    assert refused([path]).where == str(path)


def test_the_file_that_a_person_named_must_exist(tmp_path: Path) -> None:
    assert refused([], tmp_path / "absent.toml").where == str(tmp_path / "absent.toml")


def test_where_there_is_no_file_the_usual_ones_are_named(tmp_path: Path) -> None:
    error = refused([tmp_path / "etc" / "agent.toml"])
    assert "no settings file" in error.what
    assert error.where == str(tmp_path / "etc" / "agent.toml")
    assert "setup" in error.do and "--settings" in error.do


def test_each_side_reads_its_own_variables_and_leaves_the_others_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKWARDEN_AGENT_ROOT", "/a")
    monkeypatch.setenv("DOCKWARDEN_CENTRE_ROOT", "/c")
    monkeypatch.setenv("DOCKWARDEN_CENTRE_ZONE_MINUTES", "60")
    monkeypatch.setenv("DOCKWARDEN_SIM_KILL", "3")
    assert load(Sample, [], side="agent").root == Path("/a")


@pytest.mark.parametrize("name", ["DOCKWARDEN_ROOT", "DOCKWARDEN_AGNET_ROOT", "DOCKWARDEN_"])
def test_a_variable_of_no_side_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "x")
    error = refused([written(tmp_path / "a.toml", 'root = "/a"\n')])
    assert name in error.what
    assert "DOCKWARDEN_AGENT_" in error.do


def test_values_that_came_another_way_are_checked_as_strictly() -> None:
    assert check(Sample, {"root": "/a"}, "the arguments") == Sample(root=Path("/a"))
    with pytest.raises(ServiceError, match=r"the arguments: broker\.port: ") as caught:
        check(Sample, {"root": "/a", "broker": {"port": 0}}, "the arguments")
    assert caught.value.where == "the arguments"
