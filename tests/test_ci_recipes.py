"""The recipes for CI, run for real: the steps of both YAML files in a clone of a repository, against its origin.

Only what would leave this machine is stood in for: gh and glab record what they are told, and pip finds that all is
installed. What an action of GitHub does (checkout, Python) the fixture has done before.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from installed import ROOT, Installed, build_wheel, install
from registry_server import Commit, running_registry

PROTO = "proto/acme/store/v1/store.proto"
STUB = "gen/acme_api/acme/store/v1/store_pb2.pyi"
BRANCH = "regenerated-stubs"
APPROVED = "approved-changes.txt"
TOKEN = "a-token-of-the-forge"
OPTIONS = "--source proto --package acme_api"
STORE = """syntax = "proto3";
package acme.store.v1;
// Sells things.
service StoreService {
  // One thing.
  rpc Get(GetRequest) returns (GetResponse);
}
message GetRequest { string id = 1; }
message GetResponse { string name = 1; int64 price = 2; }
"""
FORGE = f"""#!{sys.executable}
import json, os, pathlib, sys
home = pathlib.Path(os.environ["FORGE"])
options = dict(zip(sys.argv[3:], sys.argv[4:]))
body = options.get("--description") or "".join(pathlib.Path(p).read_text() for p in [options.get("--body-file")] if p)
call = {{"program": pathlib.Path(sys.argv[0]).name, "verb": sys.argv[2], "options": options, "body": body}}
with (home / "calls").open("a") as calls:
    calls.write(json.dumps(call) + "\\n")
if sys.argv[2] == "create":
    (home / "open").touch()
if sys.argv[2] == "list" and call["program"] == "gh":
    print("7" if (home / "open").exists() else "")
if sys.argv[2] == "list" and call["program"] == "glab":
    print('[{{"iid": 7}}]' if (home / "open").exists() else "[]")
"""


@dataclass(frozen=True, slots=True)
class Project:
    """A repository with generated stubs: its origin, a clone for the runs, and one for the people."""

    home: Path
    installed: Installed

    @property
    def clone(self) -> Path:
        """Where the runs work."""
        return self.home / "clone"

    def git(self, *arguments: str, at: str = "people") -> str:
        """What git prints in one of the clones."""
        command = ["git", "-c", "user.name=Ada", "-c", "user.email=ada@example.com", *arguments]
        return subprocess.run(command, cwd=self.home / at, check=True, capture_output=True, text=True).stdout.strip()

    def edit(self, path: str, text: str, branch: str = "main") -> None:
        """A person writes a file and pushes it."""
        self.git("fetch", "-q")
        self.git("checkout", "-q", "-B", branch, f"origin/{branch}")
        (self.home / "people" / path).write_text(text)
        self.git("add", path)
        self.git("commit", "-qm", f"Edit {path}")
        self.git("push", "-q", "origin", branch)

    def at_origin(self, path: str, branch: str = BRANCH) -> str:
        """A file as it is on a branch of the origin."""
        return self.git("show", f"{branch}:{path}", at="origin.git")

    def branches(self) -> set[str]:
        """The branches of the origin."""
        return set(self.git("branch", "--format=%(refname:short)", at="origin.git").splitlines())

    def calls(self) -> list[dict[str, Any]]:
        """What gh and glab were called with, but for their lists."""
        calls = self.home / "calls"
        lines = calls.read_text().splitlines() if calls.exists() else []
        return [call for call in map(json.loads, lines) if call["verb"] != "list"]

    def run(self, script: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a step in the shell that runners use."""
        path = os.pathsep.join([str(self.home / "bin"), self.installed.environment()["PATH"]])
        own = {"PATH": path, "HOME": str(self.home), "FORGE": str(self.home), "PIP_NO_INDEX": "1"}
        environment = self.installed.environment(**own, GIT_CONFIG_NOSYSTEM="1", **variables)
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
        return subprocess.run(
            command, cwd=self.clone, env=environment, capture_output=True, text=True, timeout=120, check=False
        )

    def refresh(self) -> None:
        """Check out the origin's main branch anew, as each run finds it."""
        subprocess.run(["rm", "-rf", str(self.clone)], check=True)
        self.git("clone", "-q", str(self.home / "origin.git"), "clone", at=".")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """An environment with the wheel, and so with the script."""
    return install(build_wheel(ROOT, tmp_path_factory.mktemp("dist")), tmp_path_factory.mktemp("installed"))


@pytest.fixture(scope="module")
def stubs(installed: Installed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the first schema and its stubs."""
    folder = tmp_path_factory.mktemp("stubs")
    (folder / PROTO).parent.mkdir(parents=True)
    (folder / PROTO).write_text(STORE)
    result = installed.run("invora", "gen", *OPTIONS.split(), cwd=folder)
    assert result.returncode == 0, result.stderr
    return folder


@pytest.fixture(scope="module")
def begun(installed: Installed, stubs: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A repository whose stubs are current, which others are copied from."""
    home = tmp_path_factory.mktemp("begun")
    made = Project(home, installed)
    (home / "bin").mkdir()
    for name in ("gh", "glab"):
        (home / "bin" / name).write_text(FORGE)
        (home / "bin" / name).chmod(0o755)
    made.git("init", "-q", "--bare", "-b", "main", "origin.git", at=".")
    made.git("clone", "-q", "origin.git", "people", at=".")
    made.git("remote", "set-url", "origin", "../origin.git")
    subprocess.run(["cp", "-R", f"{stubs}/.", str(home / "people")], check=True)
    made.git("add", "-A")
    made.git("commit", "-qm", "Begin")
    made.git("push", "-q", "origin", "HEAD:main")
    return made


def copied(begun: Project, home: Path) -> Project:
    """The same repository in another folder."""
    shutil.copytree(begun.home, home, dirs_exist_ok=True)
    return Project(home, begun.installed)


@pytest.fixture
def project(begun: Project, tmp_path: Path) -> Project:
    """A repository of the test's own."""
    return copied(begun, tmp_path)


@pytest.fixture(scope="module")
def changed(begun: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A repository after a run on GitHub that found a harmless change. Tests only read it."""
    made = copied(begun, tmp_path_factory.mktemp("changed"))
    made.edit(PROTO, HARMLESS)
    result = github(made, install=True, options=OPTIONS)
    assert result.returncode == 0, result.stderr
    return made


GITHUB = (ROOT / "ci/github.yml").read_text()
GITLAB = (ROOT / "ci/gitlab.yml").read_text()
EXPRESSION = re.compile(r"\$\{\{ (.*?) \}\}")


def evaluated(text: str, context: dict[str, str]) -> str:
    """A value of the workflow, its expressions replaced: the first of names and quoted texts that is not empty."""

    def value(found: re.Match[str]) -> str:
        terms = found[1].split(" || ")
        return next((v for t in terms if (v := t[1:-1] if t[0] == "'" else context.get(t, ""))), "")

    return EXPRESSION.sub(value, text)


def github(
    project: Project, *, install: bool = False, machine: Mapping[str, str] | None = None, **inputs: str
) -> subprocess.CompletedProcess[str]:
    """One run of the workflow on main; what its last step said. Installs only where it is said: that takes a second.

    `machine` holds variables that the runner has.
    """
    project.refresh()
    context = {"github.token": TOKEN, **{f"inputs.{name}": value for name, value in inputs.items()}}
    job = yaml.safe_load(GITHUB)["jobs"]["regenerate"]
    result = subprocess.CompletedProcess[str]([], 0)
    for step in job["steps"]:
        if "run" in step and result.returncode == 0 and (install or step["name"] != "Install"):
            given = {name: evaluated(value, context) for name, value in {**job["env"], **step.get("env", {})}.items()}
            given |= {"GITHUB_REF_NAME": "main", "GITHUB_STEP_SUMMARY": str(project.home / "summary.md")}
            given |= machine or {}
            result = project.run(step["run"], **given)
    assert TOKEN not in result.stdout + result.stderr
    return result


def gitlab(project: Project, *, install: bool = False, **inputs: str) -> subprocess.CompletedProcess[str]:
    """One scheduled job on main, as runners check it out: the commit, and no branch."""
    project.refresh()
    project.git("checkout", "-q", "--detach", at="clone")
    about, jobs = yaml.safe_load_all(GITLAB)
    values = {name: inputs.get(name, one["default"]) for name, one in about["spec"]["inputs"].items()}
    job = jobs["regenerate-stubs"]
    own = {"CI_PROJECT_URL": str(project.home / "origin"), "CI_COMMIT_BRANCH": "main", "CI_SERVER_HOST": "git.example"}
    for name, text in job["variables"].items():
        text = re.sub(r"\$\[\[ inputs\.([\w-]+) \]\]", lambda found: values[found[1]], text)
        own[name] = re.sub(r"\$(CI_\w+)", lambda found: own[found[1]], text)
    lines = [*(job["before_script"] if install else ()), *job["script"]]
    result = project.run("\n".join(lines), GITLAB_TOKEN=TOKEN, **own)
    assert TOKEN not in result.stdout + result.stderr
    return result


HARMLESS = STORE.replace("int64 price = 2;", "int64 price = 2; string colour = 3;")
BREAKING = STORE.replace("int64 price = 2", "int64 price = 4")


def ids(report: str) -> list[str]:
    """The ids of breaking changes in a report."""
    return sorted(set(re.findall(r"\b[a-z-]+:acme\.[\w.]+:[0-9a-f]+\b", report)))


def test_a_harmless_change_becomes_a_branch_with_the_stubs_and_nothing_else(changed: Project) -> None:
    names = changed.git("diff", "--name-only", f"main..{BRANCH}", at="origin.git").splitlines()
    assert STUB in names
    assert all(name.startswith("gen/acme_api/") for name in names)
    log = changed.git("log", "--format=%an: %s", f"main..{BRANCH}", at="origin.git")
    assert log == "github-actions[bot]: Regenerate the stubs"
    assert "colour" in changed.at_origin(STUB)
    assert "colour" not in changed.at_origin(STUB, "main")


def test_the_report_is_the_text_of_the_pull_request_and_of_the_run(changed: Project) -> None:
    (call,) = changed.calls()
    assert (call["program"], call["verb"]) == ("gh", "create")
    assert TOKEN not in json.dumps(call)
    assert (call["options"]["--head"], call["options"]["--base"]) == (BRANCH, "main")
    assert "colour" in call["body"]
    assert call["body"] == (changed.clone / "regenerated.md").read_text() == (changed.home / "summary.md").read_text()


def test_where_nothing_changed_nothing_is_pushed_and_nobody_is_asked(project: Project) -> None:
    result = github(project, options=OPTIONS)
    assert (result.returncode, project.calls(), project.branches()) == (0, [], {"main"})
    assert "nothing changed" in result.stderr


def test_a_breaking_change_fails_the_run_until_a_reviewer_approves_it_on_the_branch(project: Project) -> None:
    project.edit(PROTO, BREAKING)
    first = github(project, options=OPTIONS)
    assert first.returncode == 1
    assert f"not approved in {APPROVED}" in first.stderr
    (opened,) = project.calls()
    assert opened["body"].startswith("> **Breaking changes in here are not approved.**")
    named = ids(opened["body"])
    assert named

    project.edit(APPROVED, "# seen by Ada\n" + "\n".join(named), BRANCH)
    second = github(project, options=OPTIONS)
    assert second.returncode == 0, second.stderr
    updated = project.calls()[-1]
    assert (updated["verb"], next(iter(updated["options"]))) == ("edit", "7")
    assert "not approved.**" not in updated["body"]
    assert project.at_origin(APPROVED).splitlines() == ["# seen by Ada", *named]


def test_what_people_committed_to_the_branch_stays_and_the_branch_follows_main(project: Project) -> None:
    project.edit(PROTO, HARMLESS)
    github(project, options=OPTIONS)
    project.edit("caller.py", "colour = thing.colour\n", BRANCH)
    project.edit(PROTO, HARMLESS.replace("colour", "color"))
    result = github(project, options=OPTIONS)
    assert result.returncode == 0, result.stderr
    assert project.at_origin("caller.py") == "colour = thing.colour"
    assert "color" in project.at_origin(STUB)
    assert "colour" not in project.at_origin(STUB)
    assert project.at_origin(PROTO) == project.at_origin(PROTO, "main")


def test_stubs_on_the_branch_that_nothing_generates_any_more_go(project: Project) -> None:
    other = "proto/acme/store/v1/shelf.proto"
    project.edit(other, 'syntax = "proto3"; package acme.store.v1; message Shelf { string name = 1; }')
    github(project, options=OPTIONS)
    assert "Shelf" in project.at_origin(STUB.replace("store_pb2", "shelf_pb2"))
    project.git("checkout", "-q", "main")
    project.git("rm", "-q", other)
    project.edit(PROTO, HARMLESS)
    github(project, options=OPTIONS)
    names = project.git("ls-tree", "-r", "--name-only", BRANCH, at="origin.git")
    assert STUB in names
    assert "shelf" not in names


def test_from_the_registry_the_renewed_pins_are_committed_with_the_stubs(project: Project) -> None:
    with running_registry(project.home) as registry:
        registry.push(Commit("acme", "acme", {PROTO.removeprefix("proto/"): HARMLESS.encode()}))
        options = f"--source registry --registry {registry.host} --module acme/acme --package acme_api"
        machine = {"SSL_CERT_FILE": str(registry.roots), "BUF_CACHE_DIR": str(project.home / "cache")}
        result = github(project, machine=machine, options=f"{options} --lock --lock-file pins/buf.lock")
    assert result.returncode == 0, result.stderr
    assert f"name: {registry.host}/acme/acme" in project.at_origin("pins/buf.lock")
    assert "colour" in project.at_origin(STUB)


def test_a_second_night_without_news_adds_no_commit(project: Project) -> None:
    project.edit(PROTO, HARMLESS)
    github(project, options=OPTIONS)
    before = project.git("rev-parse", BRANCH, at="origin.git")
    result = github(project, options=OPTIONS)
    assert (result.returncode, project.git("rev-parse", BRANCH, at="origin.git")) == (0, before)
    assert "is up to date" in result.stderr


def test_from_a_folder_beside_the_stubs_a_second_night_keeps_them(project: Project) -> None:
    project.edit(PROTO, HARMLESS)
    project.refresh()
    script = f"""mkdir -p "ci é" && cd "ci é" && ln -sfn ../proto proto
        invora-regenerate --out ../gen --approved ../approved-changes.txt --branch {BRANCH} -- {OPTIONS}"""
    assert project.run(script).returncode == 0
    project.refresh()
    result = project.run(script)
    assert (result.returncode, "is up to date" in result.stderr) == (0, True), result.stderr
    assert "colour" in project.at_origin(STUB)


def test_a_branch_that_conflicts_with_main_is_left_to_people(project: Project) -> None:
    project.edit(PROTO, HARMLESS)
    github(project, options=OPTIONS)
    project.edit("caller.py", "one\n", BRANCH)
    before = project.git("rev-parse", BRANCH, at="origin.git")
    project.edit("caller.py", "another\n")
    result = github(project, options=OPTIONS)
    assert (result.returncode, project.git("rev-parse", BRANCH, at="origin.git")) == (2, before)
    assert "conflicts with what is checked out in caller.py" in result.stderr


def test_a_schema_that_does_not_compile_fails_the_run_and_nothing_is_pushed(project: Project) -> None:
    project.edit(PROTO, STORE + "message {")
    result = github(project, options=OPTIONS)
    assert (result.returncode, project.calls(), project.branches()) == (2, [], {"main"})
    assert "store.proto" in result.stderr


def test_a_push_that_is_refused_fails_the_run_and_asks_nobody(project: Project) -> None:
    hook = project.home / "origin.git/hooks/pre-receive"
    project.edit(PROTO, HARMLESS)
    hook.write_text("#!/bin/sh\necho this branch is protected\nexit 1\n")
    hook.chmod(0o755)
    result = github(project, options=OPTIONS)
    assert (result.returncode, project.calls(), project.branches()) == (2, [], {"main"})
    assert "this branch is protected" in result.stderr


def test_a_program_that_breaks_is_not_taken_for_a_breaking_change(project: Project) -> None:
    (project.home / "bin/invora").write_text("#!/bin/sh\nexit 1\n")
    (project.home / "bin/invora").chmod(0o755)
    result = github(project, options=OPTIONS)
    assert (result.returncode, project.calls(), project.branches()) == (2, [], {"main"})


def test_without_a_request_the_run_only_reports(project: Project) -> None:
    project.edit(PROTO, BREAKING)
    result = github(project, options=OPTIONS, request="none")
    assert (result.returncode, project.calls(), project.branches()) == (1, [], {"main"})
    assert ids((project.home / "summary.md").read_text())


def test_gitlab_opens_a_merge_request_and_updates_it_the_next_time(project: Project) -> None:
    project.edit(PROTO, HARMLESS)
    first = gitlab(project, install=True, options=OPTIONS)
    assert first.returncode == 0, first.stderr
    project.edit(PROTO, HARMLESS.replace("colour", "color"))
    second = gitlab(project, options=OPTIONS)
    assert second.returncode == 0, second.stderr
    opened, updated = project.calls()
    assert (opened["program"], opened["verb"], updated["verb"]) == ("glab", "create", "update")
    assert (opened["options"]["--source-branch"], opened["options"]["--target-branch"]) == (BRANCH, "main")
    assert "colour" in opened["body"]
    assert "color" in updated["body"]
    assert "color" in project.at_origin(STUB)


def test_gitlab_fails_a_breaking_change_that_is_not_approved(project: Project) -> None:
    project.edit(PROTO, BREAKING)
    result = gitlab(project, options=OPTIONS)
    assert (result.returncode, [call["verb"] for call in project.calls()]) == (1, ["create"])


def test_gitlab_s_token_reaches_git_and_is_written_nowhere(project: Project) -> None:
    gitlab(project, options=OPTIONS)
    asked = project.run("printf 'protocol=https\\nhost=git.example\\n\\n' | git credential fill", GITLAB_TOKEN=TOKEN)
    assert f"password={TOKEN}\n" in asked.stdout
    assert TOKEN not in (project.clone / ".git/config").read_text()


def test_what_is_given_becomes_no_part_of_a_command() -> None:
    steps = [step.get("run", "") for step in yaml.safe_load(GITHUB)["jobs"]["regenerate"]["steps"]]
    job = list(yaml.safe_load_all(GITLAB))[1]["regenerate-stubs"]
    assert not [text for text in steps if "${{" in text]
    assert not [text for text in (*job["before_script"], *job["script"]) if "$[[" in text]


def test_both_recipes_run_at_night_and_fetch_the_whole_history() -> None:
    workflow = yaml.safe_load(GITHUB)
    assert workflow[True]["schedule"]
    assert {"workflow_call", "workflow_dispatch"} <= workflow[True].keys()
    assert workflow["jobs"]["regenerate"]["steps"][0]["with"]["fetch-depth"] == 0
    job = list(yaml.safe_load_all(GITLAB))[1]["regenerate-stubs"]
    assert job["variables"]["GIT_DEPTH"] == "0"
    assert 'CI_PIPELINE_SOURCE == "schedule"' in job["rules"][0]["if"]


def test_both_recipes_take_the_same_inputs() -> None:
    calls = yaml.safe_load(GITHUB)[True]["workflow_call"]["inputs"]
    inputs = next(yaml.safe_load_all(GITLAB))["spec"]["inputs"]
    assert calls.keys() - {"python-version"} == inputs.keys() - {"image", "stage"}
    job = yaml.safe_load(GITHUB)["jobs"]["regenerate"]
    used = set(re.findall(r"inputs\.([\w-]+)", json.dumps(job)))
    assert used == calls.keys()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--branches", "x"], "--branches is no option"),
        (["--branch"], "--branch needs a value"),
        (["--request", "gitea", "--branch", "x"], "--request gitea: write github or gitlab"),
        (["--request", "github"], "--request needs --branch"),
        (["--branch", "x", "--out", "/srv/gen"], "--out /srv/gen: write it from the working directory on"),
        (["--branch", "x", "--approved", "/a"], "--approved /a: write it from the working directory on"),
        (["--request", "github", "--branch", "main"], "--branch main is the branch that the request is for"),
    ],
)
def test_the_script_refuses_what_it_cannot_do(project: Project, arguments: list[str], said: str) -> None:
    project.refresh()
    result = project.run('invora-regenerate "${@}"'.replace('"${@}"', " ".join(arguments)))
    assert (result.returncode, result.stdout) == (2, "")
    assert said in result.stderr


def test_the_script_touches_no_work_that_is_not_committed(project: Project) -> None:
    project.refresh()
    (project.clone / PROTO).write_text(HARMLESS)
    result = project.run(f"invora-regenerate --branch {BRANCH} -- {OPTIONS}")
    assert result.returncode == 2
    assert "not committed" in result.stderr
    assert (project.clone / PROTO).read_text() == HARMLESS
