"""The house keeps its own rules: floors, sizes, names, and nothing in it of the machine that built it."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SRC = ROOT / "src" / "dockwarden"
MAX_LINES = 450
# One file by design: a stranger reads it, copies it to any machine and runs it there.
STAND_ALONE = SRC / "evidence" / "verify.py"
PACKAGES = sorted(path.parent for path in SRC.glob("*/**/__init__.py"))
MODULES = sorted(SRC.rglob("*.py"))
SCRIPTS = sorted(
    path for folder in ("src", "tests", "benchmarks", "scripts") for path in (ROOT / folder).rglob("*.py")
)
# `evidence` is pure rules over bytes: what would give it a disk, a network or a clock.
IMPURE = {"os", "pathlib", "shutil", "socket", "sqlite3", "subprocess", "tempfile", "threading", "time"}


def tracked() -> list[Path]:
    """Every file that is in the repository or would be by `git add`; without git, every file not built here."""
    listing = (
        subprocess.run(
            ["git", "-c", "safe.directory=*", "ls-files", "-z", "-co", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            check=False,
        )
        if shutil.which("git")
        else None
    )
    if listing is not None and listing.returncode == 0:
        names = sorted({name.decode() for name in listing.stdout.split(b"\0") if name})
        return [ROOT / name for name in names if (ROOT / name).is_file()]
    built = re.compile(r"(^|/)(\.git|\.venv|build|__pycache__|[^/]*\.egg-info|\.[a-z_]+_cache|\.hypothesis)(/|$)")
    return [path for path in sorted(ROOT.rglob("*")) if path.is_file() and not built.search(at(path))]


def at(path: Path) -> str:
    """The path as the repository names it."""
    return path.relative_to(ROOT).as_posix()


def dotted(path: Path) -> str:
    """The module's or package's dotted name."""
    return ".".join(path.relative_to(SRC.parent).with_suffix("").parts)


def imports(path: Path) -> Iterator[str]:
    """Dotted names that a module imports; `from a import b` gives both `a` and `a.b`."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{at(path)}:{node.lineno} imports relatively"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_imports_go_down_only() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--no-logo"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_evidence_has_no_disk_no_network_and_no_clock() -> None:
    for path in (SRC / "evidence").glob("*.py"):
        if path.name != "verify.py":
            assert not IMPURE.intersection(name.split(".")[0] for name in imports(path)), at(path)


def test_the_verifier_stands_alone() -> None:
    verify = SRC / "evidence" / "verify.py"
    assert not [name for name in imports(verify) if name.split(".")[0] == "dockwarden"]
    assert [at(path) for path in MODULES if dotted(verify) in imports(path)] == []


def test_every_folder_of_modules_is_a_package_that_says_what_it_is_for() -> None:
    folders = {path.parent for path in MODULES}
    assert sorted(folders - {SRC}) == PACKAGES
    for folder in PACKAGES:
        tree = ast.parse((folder / "__init__.py").read_bytes())
        says = ast.get_docstring(tree)
        assert says and "\n" not in says, f"{at(folder)}/__init__.py: one line that says what the package is for"
        assert len(tree.body) == 1, f"{at(folder)}/__init__.py holds more than that line"


@pytest.mark.parametrize("path", [path for path in MODULES if path != STAND_ALONE], ids=at)
def test_a_room_is_small(path: Path) -> None:
    lines = path.read_text("utf-8").count("\n")
    assert lines <= MAX_LINES, f"{lines} lines: more than one reason to change?"


def test_the_architecture_names_the_packages_that_there_are() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    named = set(re.findall(r"^\| *`(\w+)/` *\|", text, re.MULTILINE))
    assert named == {folder.name for folder in PACKAGES if folder.parent == SRC}
    inner = {f"{folder.name}/" for folder in PACKAGES if folder.parent != SRC}
    assert sorted(name for name in inner if name not in text) == []


def test_no_command_goes_through_a_shell() -> None:
    found = []
    for path in SCRIPTS:
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.keyword) and ast.unparse(node) == "shell=True":
                found.append(f"{at(path)}:{node.value.lineno}")
            if isinstance(node, ast.Attribute) and ast.unparse(node) in {"os.system", "os.popen"}:
                found.append(f"{at(path)}:{node.lineno}")
    assert found == []


# Put together from halves, so that this file is not its own finding.
FOREIGN = re.compile(
    "|".join(
        [
            r"python" + r"hosted\.org",
            r"pypi" + r"\.org",
            r"deb" + r"\.debian\.org",
            r"debian\.org" + r"/debian",
            r"npm" + r"js\.(org|com)",
            r"crates" + r"\.io",
            r"pkg" + r"\.dev\b",
            r"(?<![\w.~-])/work" + r"/\w",
            r"(?<![\w.~-])/root" + r"/[\w.]",
            r"(?<![\w.~-])/home" + r"/\w",
            r"/opt/(pypi|wheels)",
            r"/var/tmp" + r"/bare",
        ]
    )
)


def test_no_file_names_a_package_registry_or_a_path_of_the_machine_that_built_it() -> None:
    found = []
    for path in tracked():
        text = path.read_bytes().decode("utf-8", "replace")
        found += [f"{at(path)}: {match.group()}" for match in FOREIGN.finditer(text)]
    assert found == []


def test_the_lock_has_a_hash_for_everything_and_no_address() -> None:
    text = (ROOT / "requirements.lock").read_text("utf-8")
    assert "://" not in text
    assert not re.search(r"^\s*(-i|--index-url|--extra-index-url|--find-links|-f|-e)\b", text, re.MULTILINE)
    pins = re.split(
        r"^(?=[A-Za-z0-9])", "\n".join(ln for ln in text.splitlines() if "#" not in ln), flags=re.MULTILINE
    )
    assert [pin for pin in pins if pin.strip() and ("==" not in pin or "--hash=sha256:" not in pin)] == []


def test_the_lock_holds_all_that_the_project_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    asked = [
        *project["dependencies"],
        *(line for extra in project["optional-dependencies"].values() for line in extra),
    ]
    locked = set(re.findall(r"^([A-Za-z0-9._-]+)==", (ROOT / "requirements.lock").read_text("utf-8"), re.MULTILINE))
    names = {re.split(r"[^A-Za-z0-9._-]", line)[0].lower() for line in asked}
    assert sorted(names - locked) == []


def need_without(tmp_path: Path, answers: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run scripts/need.sh in a tree and with a PATH of its own: a few commands, and scripts that play others."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "need.sh", tmp_path / "scripts")
    (tmp_path / "requirements.lock").touch()
    commands = tmp_path / "bin"
    commands.mkdir()
    for name in ("cat", "dirname", "env", "find", "grep", "mkdir", "sha256sum"):
        (commands / name).symlink_to(shutil.which(name) or name)
    for name, script in answers.items():
        (commands / name).write_text(f"#!/bin/sh\n{script}\n", "utf-8")
        (commands / name).chmod(0o755)
    return subprocess.run(
        ["/bin/sh", "scripts/need.sh", "bench"],
        cwd=tmp_path,
        env={"PATH": str(commands)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_who_may_not_install_is_told_in_one_line_what_is_missing(tmp_path: Path) -> None:
    ran = need_without(tmp_path, {"id": "echo 1000", "apt-get": "echo called >> calls"})
    assert ran.returncode != 0
    assert ran.stdout == ""
    assert len(ran.stderr.splitlines()) == 1
    assert "missing:" in ran.stderr and "bubblewrap ffmpeg" in ran.stderr
    assert "apt-get install --no-install-recommends" in ran.stderr
    assert not (tmp_path / "calls").exists()


def test_packages_are_asked_for_by_name_and_a_failure_is_told_in_one_line(tmp_path: Path) -> None:
    ran = need_without(tmp_path, {"id": "echo 0", "apt-get": 'echo "$@" >> calls; exit 100'})
    assert ran.returncode != 0
    assert len([line for line in ran.stderr.splitlines() if "missing:" in line]) == 1
    update, install = (tmp_path / "calls").read_text("utf-8").splitlines()
    assert update.endswith(" update")
    assert " install -y --no-install-recommends " in install and install.count("ffmpeg") == 1
