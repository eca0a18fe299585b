"""Where key files may lie: keys cannot escape."""
import os
from urllib.parse import quote

import pytest

from harness import kernel
from harness.client import Api


@pytest.fixture
def elsewhere(tmp_path):
    """A directory where Qt puts no key files."""
    return str(tmp_path)


def create(session, path, expect):
    return session.request("POST", "/v1/segments", expect=expect,
                           json={"native_key": f"systemv:{path}", "size": 8})


def href(path):
    return "/v1/segments/" + quote(f"systemv:{path}", safe="")


def test_a_key_file_elsewhere_is_neither_made_nor_looked_at(api, elsewhere):
    session = api.session()
    there, absent = f"{elsewhere}/there", f"{elsewhere}/absent"
    open(there, "w", encoding="ascii").close()
    before = os.listdir(elsewhere)
    for path in (there, absent, "/etc/passwd", "/proc/self/root/tmp/x", "/"):
        answers = [
            create(session, path, (403, "permission-denied")),
            api.get(href(path), expect=(403, "permission-denied")),
            api.get(href(path) + "/data", expect=(403, "permission-denied")),
            session.request("PUT", href(path) + "/attachment", expect=(403, "permission-denied")),
            api.delete(href(path), query={"force": "true"}, expect=(403, "permission-denied")),
            api.delete(href(path) + "/lock", query={"force": "true"},
                       expect=(403, "permission-denied")),
        ]
        # Whether there is such a file is not told.
        assert {answer.json["qt_error"] for answer in answers} == {"PermissionDenied"}
        assert "--key-dir" in answers[0].json["detail"]
    assert os.listdir(elsewhere) == before


def test_a_directory_can_be_added(start_server, elsewhere, environment):
    os.mkdir(f"{elsewhere}/keys")
    api = Api(start_server("--key-dir", f"{elsewhere}/keys").address)
    session = api.session()
    path = f"{elsewhere}/keys/one"
    create(session, path, 201)
    shmid = api.get(href(path), expect=200).json["shmid"]
    assert api.get(f"/v1/segments/shmid:{shmid}", expect=200).json["id"] == f"systemv:{path}"
    assert f"systemv:{path}" in api.segment_ids()
    create(session, f"{elsewhere}/keys-too", (403, "permission-denied"))
    create(session, f"{elsewhere}/keys/../two", (400, "key-error"))
    session.end()
    assert os.listdir(f"{elsewhere}/keys") == [] and not os.path.exists(f"{elsewhere}/two")
    api = Api(start_server(environment={**environment, "SEGMENTD_KEY_DIR": elsewhere}).address)
    session = api.session()
    create(session, path, 201)
    session.end()


def test_no_link_is_followed(api, elsewhere, temporary_directory, stem):
    session = api.session()
    target = f"{elsewhere}/target"
    open(target, "w", encoding="ascii").close()
    links = {f"{temporary_directory}/{stem}-file": target,
             f"{temporary_directory}/{stem}-nowhere": f"{elsewhere}/nowhere",
             f"{temporary_directory}/{stem}-directory": elsewhere}
    for link, leads in links.items():
        os.symlink(leads, link)
    try:
        for path in [f"{temporary_directory}/{stem}-file", f"{temporary_directory}/{stem}-nowhere",
                     f"{temporary_directory}/{stem}-directory/new",
                     f"{temporary_directory}/{stem}-directory/target"]:
            create(session, path, (403, "permission-denied"))
            api.get(href(path), expect=(403, "permission-denied"))
            api.delete(href(path), query={"force": "true"}, expect=(403, "permission-denied"))
        assert os.listdir(elsewhere) == ["target"]
    finally:
        for link in links:
            os.unlink(link)


def test_the_directory_itself_may_be_a_link(start_server, environment, tmp_path, stem):
    real = tmp_path / "real"
    real.mkdir(0o700)
    link = tmp_path / "link"
    link.symlink_to(real)
    api = Api(start_server(environment={**environment, "TMPDIR": str(link)}).address)
    session = api.session()
    session.create(kernel.legacy_name(stem, str(link)))
    assert len(os.listdir(real)) >= 1
    session.end()
    assert os.listdir(real) == []


def test_a_directory_below_is_as_good(api, temporary_directory, stem):
    directory = f"{temporary_directory}/{stem}"
    os.mkdir(directory)
    session = api.session()
    create(session, f"{directory}/key", 201)
    session.end()
    assert os.listdir(directory) == []
    os.rmdir(directory)
