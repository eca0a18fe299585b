"""What README shows, run as it stands there."""
import re
import subprocess
import sys

from harness.server import ROOT, run
from harness.waiting import wait_until

README = (ROOT / "README.md").read_text()
CURL_OUTPUT = re.search(r"```\n(\{\"segment\".*?)```", README, re.DOTALL)[1]


def block(label):
    """The fenced block that follows a label."""
    return re.search(rf"<!-- readme: {label} -->\n```\w+\n(.*?)```", README, re.DOTALL)[1]


def shell(script, server, environment, program="bash"):
    script = script.replace("127.0.0.1:7070", "{}:{}".format(*server.address))
    return subprocess.run([program, "-euc", script], env=environment, capture_output=True,
                          text=True, timeout=30, check=True).stdout


def test_the_curl_session_prints_what_readme_says(server, environment, temporary_directory):
    printed = shell(block("curl"), server, environment).replace(temporary_directory, "/tmp")
    lines = [line for line in printed.splitlines() if line]
    expected = CURL_OUTPUT.splitlines()
    assert len(lines) == len(expected), printed
    for line, shown in zip(lines, expected):
        pattern = ".*".join(re.escape(part) for part in shown.split("…"))
        pattern = re.sub(r'fencing_token":\d+', r'fencing_token":\\d+', pattern)
        assert re.fullmatch(pattern, line), (line, shown)


def test_the_curl_session_has_five_lines():
    assert len(block("curl").splitlines()) == 5


def test_the_curl_session_runs_in_a_plain_shell_too(server, environment):
    assert '"destroyed":true' in shell(block("curl"), server, environment, program="sh")


def test_a_qt_program_and_curl_share_a_segment_as_readme_says(server, api, environment):
    program = subprocess.Popen(
        [sys.executable, "-c", block("qt")], env=environment, stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL)
    try:
        def is_ready():
            answer = api.get("/v1/segments/camera/data", query={"length": 5})
            return answer.status == 200 and answer.body == b"hello"

        wait_until(is_ready, 10, "the Qt program's bytes")
        printed = shell(block("beside qt"), server, environment)
        assert '"origin":"qt"' in printed
        assert "68 65 6c 6c 6f" in printed
        assert api.get("/v1/segments/camera/data", query={"length": 5}).body == b"HELLO"
    finally:
        program.communicate(b"\n", timeout=10)
    assert program.returncode == 0
    api.get("/v1/segments/camera", expect=404)


def test_readme_names_every_flag_and_no_other(environment):
    flags = set(re.findall(r"^  (--[a-z-]+)", run("--help", environment=environment).stdout, re.M))
    options = README.partition("## Options")[2].partition("\n## ")[0]
    named = set(re.findall(r"^\|.*", options, re.M))
    assert set(re.findall(r"`(--[a-z-]+)", "".join(named))) - {"--help"} == flags - {"--version"}


def test_every_test_that_the_security_page_names_is_there():
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "SECURITY.md").read_text()))
    there = {name for file in (ROOT / "Tests/EndToEnd").glob("test_*.py")
             for name in re.findall(r"^def (test_\w+)", file.read_text(), re.MULTILINE)}
    assert len(named) > 20
    assert named <= there, sorted(named - there)
