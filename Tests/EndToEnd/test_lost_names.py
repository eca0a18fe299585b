"""Names that other processes take away from segments that sessions are attached to."""
import os
import tempfile

import pytest

from harness import kernel


@pytest.fixture
def systemv(stage, stem):
    """A native System V key whose file lies where no inode number comes again."""
    return kernel.systemv_name(stem, stage.directory)


def shown(api, session):
    """The one attachment of a session, as the session itself shows it."""
    (attachment,) = api.get(session.href, expect=200).json["attachments"]
    return attachment


def test_a_key_file_that_goes_with_its_qt_creator_is_missed_aloud(stage, systemv):
    api, session = stage.api, stage.api.session()
    creator = stage.qt().segment(systemv).create(64)
    session.attach(systemv)
    session.write(systemv, b"ours", offset=0)
    assert "name_lost" not in shown(api, session)
    identifier = api.segment(systemv).json["shmid"]
    creator.destroy()
    assert not os.path.exists(systemv.memory_file)

    number = f"shmid:{identifier}"
    for attachment in (session.attachment(systemv).json, shown(api, session)):
        assert (attachment["segment"], attachment["name_lost"]) == (number, True)
    assert session.read(systemv, length=4).body == b"ours"
    session.lock(systemv)
    session.unlock(systemv)
    assert number in api.segment(systemv, expect=404).json["detail"]
    assert number in api.session().attach(systemv, expect=404).json["detail"]
    listed = api.get("/v1/segments", expect=200).json["segments"]
    assert [(one["id"], one["sessions"], one["attachments"]) for one in listed] == [(number, 1, 1)]

    # By its number it is found still, and is one segment however it was found.
    other = api.session()
    by_number = kernel.Name("systemv", number, {}, {}, "", "", number)
    other.attach(by_number)
    assert other.read(by_number, length=4).body == b"ours"
    assert api.segment(by_number).json["attachments"] == 1
    assert other.detach(by_number).json == {"segment": number, "destroyed": False}
    assert session.detach(systemv).json == {"segment": number, "destroyed": True}
    assert not stage.debris.new()


def test_what_qt_creates_under_the_lost_name_is_another_segment(stage, systemv):
    api, old, new = stage.api, stage.api.session(), stage.api.session()
    creator = stage.qt().segment(systemv).create(64)
    old.attach(systemv)
    old.write(systemv, b"old", offset=0)
    creator.destroy()
    successor = stage.qt().segment(systemv).create(128).write(b"new")
    assert new.attach(systemv).json["size"] == 128

    assert new.read(systemv, length=3).body == b"new" == api.get(
        systemv.href + "/data", query={"length": 3}).body
    assert old.read(systemv, length=3).body == b"old"
    ids = [shown(api, session)["segment"] for session in (old, new)]
    assert ids[1] == systemv.id and ids[0].startswith("shmid:")
    listed = [one["id"] for one in api.get("/v1/segments").json["segments"]]
    assert sorted(listed) == sorted(ids)
    old.write(systemv, b"OLD", offset=0)
    assert successor.read(0, 3) == b"new"

    assert old.detach(systemv).json == {"segment": ids[0], "destroyed": True}
    assert successor.read(0, 3) == b"new" and systemv.exists(), "the successor's file stays"
    successor.destroy()  # and takes its key file along again
    assert shown(api, new)["name_lost"] is True
    assert new.end().json["released"][0]["destroyed"] is True
    assert not stage.debris.new()


def test_a_session_can_create_anew_what_it_lost(stage, systemv):
    api, session = stage.api, stage.api.session()
    creator = stage.qt().segment(systemv).create(64)
    session.attach(systemv)
    creator.destroy()
    session.create(systemv, 32)
    sizes = {one["segment"]: one["size"] for one in api.get(session.href).json["attachments"]}
    assert len(sizes) == 2 and sizes[systemv.id] == 32
    session.end()
    assert not stage.debris.new()


def gives_numbers_again(directory):
    """Whether a removed file's inode number is that of the next one."""
    numbers = []
    for _ in range(2):
        with tempfile.NamedTemporaryFile(dir=directory) as file:
            numbers.append(os.fstat(file.fileno()).st_ino)
    return numbers[0] == numbers[1]


def test_a_key_file_is_put_back_where_that_makes_the_same_key(api, peer, names, no_debris,
                                                              temporary_directory):
    name = names["systemv"]
    session, other = api.session(), api.session()
    creator = peer.segment(name).create(64)
    session.attach(name)
    creator.destroy()
    assert not os.path.exists(name.memory_file)
    comes_again = gives_numbers_again(temporary_directory)
    answer = api.segment(name, expect=None)
    if answer.status == 200:
        assert comes_again and os.path.exists(name.memory_file)
        assert "name_lost" not in session.attachment(name).json
        other.attach(name)
        assert other.detach(name).json["destroyed"] is False
        assert peer.segment(name).attach().detach()
    else:
        answer.expecting((404, "not-found"))
        assert session.attachment(name).json["name_lost"] is True
    assert session.detach(name).json["destroyed"] is True
    assert not no_debris.memories()
    peer.quit()


@pytest.mark.parametrize("is_replaced", [False, True])
def test_a_posix_name_that_was_unlinked_is_missed_aloud(api, posix, no_debris, is_replaced):
    session, other = api.session(), api.session()
    session.create(posix, 64)
    session.write(posix, b"ours", offset=0)
    inode = os.stat(posix.memory_file).st_ino
    os.unlink(posix.memory_file)
    title = f"{posix.id}#inode={inode}"
    attachment = session.attachment(posix).json
    assert (attachment["segment"], attachment["name_lost"]) == (title, True)
    assert title in api.segment(posix, expect=404).json["detail"]
    if is_replaced:
        other.create(posix, 32)
        assert [shown(api, one)["segment"] for one in (session, other)] == [title, posix.id]
        assert api.segment(posix).json["sessions"] == 1
        api.delete(posix.href, expect=(409, "in-use"))
    assert session.read(posix, length=4).body == b"ours"
    assert session.detach(posix).json["segment"] == title
    if is_replaced:
        assert other.read(posix, length=4).body == bytes(4)
        assert other.detach(posix).json == {"segment": posix.id, "destroyed": True}
    assert not no_debris.memories()
    assert not no_debris.new()


def test_one_segment_has_one_id_by_whatever_name_it_is_asked(api, posix, names):
    session = api.session()
    session.request("POST", "/v1/segments", expect=201,
                    json={"native_key": posix.id.replace(":/", ":"), "size": 64})
    spellings = [posix.id, posix.id.replace(":/", ":"), posix.id.replace("posix", "POSIX")]
    for text in spellings:
        one = kernel.Name("posix", text, {}, {}, "", "", text)
        assert api.segment(one).json["id"] == posix.id
        assert session.attachment(one).json["segment"] == posix.id
    assert session.detach(posix).json == {"segment": posix.id, "destroyed": True}
    systemv = names["systemv"]
    session.create(systemv)
    for text in [systemv.id.replace("systemv:", "systemv-81:"), systemv.id.replace("/e", "//e"),
                 systemv.id.replace("/e", "/./e"), f"shmid:{api.segment(systemv).json['shmid']}"]:
        one = kernel.Name("systemv", text, {}, {}, "", "", text)
        assert api.segment(one).json["id"] == systemv.id
        assert session.attachment(one).json["segment"] == systemv.id
    link = systemv.memory_file + ".link"
    os.symlink(systemv.memory_file, link)
    one = kernel.Name("systemv", f"systemv:{link}", {}, {}, "", "", "")
    assert api.segment(one, expect=None).code == "permission-denied", "a link names no key file"
    os.unlink(link)
    assert session.detach(systemv).json["destroyed"] is True
