"""The same calls on real Qt objects and, under other names, on sessions of the server."""
import os
import uuid

from harness import kernel
from harness.differential import HTTP_MODES, HUGE, LEDGER, require
from harness.keyfile import KeptFiles

# How an answer of ours reads as Qt's: 2xx is true. An error is false with the enumerator that the
# answer names, but where Qt answers false and leaves the object's error alone, ours has a status
# of its own; without an attachment 404, if the segment is not there either.
SILENT = {
    "attach": {(409, "already-attached")},
    "detach": {(409, "not-attached"), (404, "not-found")},
    "unlock": {(409, "not-attached"), (409, "not-locked"), (404, "not-found")},
}


class Pair:
    """One QSharedMemory and the session that does the same."""

    def __init__(self, qt, session):
        self.qt = qt
        self.session = session
        self.key = 0
        self.mode = None
        self.size = 0
        self.holds = False
        self.lock_key = None  # whose lock Qt's object has open; create() and attach() change it
        self.made_lock = False
        self.handle = None  # the System V key that Qt's object has in mind
        self.error = "NoError"


class TwoWorlds:
    """Runs a sequence in both worlds."""

    kind = "two"
    objects_by_number = [0, 1, 2]
    weights = {
        "create": 16, "attach": 18, "detach": 8, "lock": 12, "unlock": 10, "read": 12, "write": 14,
        "set_key": 6,
    }

    def __init__(self, api, qt, directory, debris):
        self.api, self.qt_process, self.directory, self.debris = api, qt, directory, debris
        self.peer = qt()

    def run(self, kinds, steps):
        """The kinds of the two keys, and what to do."""
        stem = "d" + uuid.uuid4().hex
        self.kinds, self.trace, self.spelling = kinds, [], 0
        self.qt_names = [kernel.make_name(kind, f"{stem}q{k}", self.directory)
                         for k, kind in enumerate(kinds)]
        self.names = [kernel.make_name(kind, f"{stem}h{k}", self.directory)
                      for k, kind in enumerate(kinds)]
        self.files = [KeptFiles(name, self.directory) for name in self.qt_names]
        self.pairs = [Pair(self.peer.segment(self.qt_names[0]), self.api.session())
                      for _ in range(3)]
        try:
            for step in steps:
                self.trace.append(f"  {step}")
                LEDGER.steps += 1
                call, number, key, spelling, *arguments = step
                pair, self.spelling = self.pairs[number], spelling
                if call == "set_key":
                    arguments = [key]
                getattr(self, call)(pair, *arguments)
                self.compare_state(pair)
            self.finish()
        except AssertionError as problem:
            problem.trace = self.trace
            self.clean()
            raise

    def called(self, key):
        """Our key of a pair's, spelt as the step says."""
        spellings = self.names[key].spellings()
        return spellings[self.spelling % len(spellings)]

    def shares_key_file(self, key):
        name = self.qt_names[key]
        return name.shares_file and not name.is_posix

    # The state that both worlds should be in.

    def attached(self, key):
        return [pair for pair in self.pairs if pair.mode and pair.key == key]

    def holder(self, pair, key=None):
        """Somebody else who holds the lock of a key, by default that of the pair."""
        key = pair.key if key is None else key
        return next((other for other in self.pairs
                     if other is not pair and other.holds and other.key == key), None)

    def let_go(self, pair, destroyed):
        """The pair's attachment is gone on both sides."""
        handle = pair.handle
        pair.mode, pair.size, pair.holds, pair.handle = None, 0, False, None
        last = not self.attached(pair.key)
        require(destroyed == last, "destroyed:", destroyed, "but last:", last)
        name = self.qt_names[pair.key]
        if last and not name.is_posix and handle is None:
            self.remove_forgotten(name)
        if last and name.is_posix:
            require(name.exists(), "Qt removed a POSIX segment")
            LEDGER.use("memory-stays")
            self.remove_file(name.memory_file)
        require(name.exists() != last, "Qt's segment exists:", not last)

    def remove_forgotten(self, name):
        """What Qt should have removed, had it not forgotten its handle."""
        require(name.exists(), "Qt removed a segment that it had forgotten")
        LEDGER.use("create-forgets-the-segment")
        kernel.remove_shared_memory(kernel.shared_memory(name.memory_key())["shmid"])
        self.remove_file(name.memory_file)

    @staticmethod
    def remove_file(path):
        if os.path.exists(path):
            os.unlink(path)

    # Calls.

    def qt(self, pair, op, **fields):
        """A call on Qt's side; what Qt does to a key file under its users is undone."""
        if op in ("create", "attach") and not (op == "attach" and pair.mode):
            if pair.lock_key != pair.key:
                if pair.made_lock and self.attached(pair.lock_key):
                    LEDGER.use("lock-removed-under-its-users")
                pair.lock_key, pair.made_lock = pair.key, False
        before = {entry["semid"] for entry in kernel.table("sem")}
        reply = pair.qt.call(op, timeoutMs=1500, **fields)
        require(not reply.get("waiting"), "Qt waits in", op)
        after = {entry["semid"] for entry in kernel.table("sem")}
        if op == "create" or after - before:  # where there was none, or none any more
            pair.made_lock = True
        self.look_at_files()
        self.trace.append(f"    Qt: {reply}")
        return reply

    def look_at_files(self):
        self.were_put_back = [file.look() for file in self.files]
        if any(self.were_put_back):
            LEDGER.use("lock-maker-removes-the-name")

    def qt_finds(self, pair, op, **fields):
        """create() or attach() on Qt's side, once more where Qt fails over what it did before."""
        name = self.qt_names[pair.key]
        for _ in range(3):
            gone = pair.handle and not pair.mode and not kernel.shared_memory(pair.handle)
            reply = self.qt(pair, op, **fields)
            if op == "create" or not pair.mode:
                found = reply["result"] or op == "create" and fields["size"] > 0
                keeps = found and not name.is_posix
                pair.handle = (name.memory_key() or -1) if keeps else None
            if gone and reply["result"] is False and reply["error"] == pair.error:
                LEDGER.use("handle-of-a-gone-segment")
            elif "QSystemSemaphore::cleanHandle" in reply["errorString"]:
                LEDGER.use("lock-removed-twice")
                if op == "attach":
                    LEDGER.use("sticky-lock-error")
                if not pair.mode:  # another create() might remake the key file
                    pair.qt.destroy()
                    self.look_at_files()
                    pair.qt = self.peer.segment(name)
                    pair.lock_key, pair.made_lock, reply["error"] = None, False, "NoError"
            elif not (op == "attach" and reply["error"] == "NotFound"
                      and self.were_put_back[pair.key]):
                break
            pair.handle, pair.error = None, reply["error"]
        return reply

    def ours(self, answer):
        self.trace.append(f"    ours: {answer}")
        return answer

    def compare(self, pair, call, reply, answer):
        """A Qt answer and ours say the same. Returns whether they say yes."""
        yes = answer.status < 400
        require(reply["result"] is yes, "Qt:", reply, "ours:", answer)
        require(answer.status != 404 or not self.attached(pair.key), answer)
        silent = yes or (answer.status, answer.code) in SILENT.get(call, ())
        expected = pair.error if silent else answer.json["qt_error"]
        require(reply["error"] == expected, "error, Qt:", reply, "expected:", expected, answer)
        if yes and expected != "NoError":
            LEDGER.use("error-not-cleared")
        pair.error = reply["error"]
        return yes

    def create(self, pair, size, mode):
        name, key = self.called(pair.key), pair.key
        exists = bool(self.attached(key))
        answer = self.ours(pair.session.create(name, size, mode=HTTP_MODES[mode], expect=None))
        too_large = size >= HUGE
        if size <= 0 or too_large:
            answer.expecting((422, "invalid-size"))
        elif exists:
            answer.expecting((409, "already-exists"))
        if pair.holds:
            LEDGER.use("create-by-the-holder")
            return
        made_lock = pair.made_lock and pair.lock_key == key
        if exists and self.shares_key_file(key) and made_lock:
            LEDGER.use("create-remakes-the-key-file")
            return
        if exists:
            LEDGER.use("create-replaces-the-lock")
        reply = self.qt_finds(pair, "create", size=size, mode=mode)
        if too_large:
            LEDGER.use("size-limit")
            expected = "AlreadyExists" if exists else "OutOfResources"
            require(reply["result"] is False and reply["error"] == expected, "Qt:", reply)
            pair.error = expected
            if not exists and self.qt_names[key].is_posix:
                require(self.qt_names[key].size() == size, "Qt left no huge file")
                LEDGER.use("huge-file-stays")
                self.remove_file(self.qt_names[key].memory_file)
            return
        if size <= 0:
            LEDGER.use("failed-create-leaves-its-lock")
        if answer.status == 201:
            pair.error = "NoError"
        if self.compare(pair, "create", reply, answer):
            require(reply["size"] == size == answer.json["size"], "size, Qt:", reply)
            pair.mode, pair.size = mode, size

    def attach(self, pair, mode):
        name = self.called(pair.key)
        answer = self.ours(pair.session.attach(name, mode=HTTP_MODES[mode], expect=None))
        holder = self.holder(pair)
        if pair.mode or holder is None:
            reply = self.qt_finds(pair, "attach", mode=mode)
        else:
            LEDGER.use("attach-waits-for-the-lock")
            require(self.qt(holder, "unlock")["result"] is True, "Qt's holder does not unlock")
            reply = self.qt_finds(pair, "attach", mode=mode)
            require(self.qt(holder, "lock")["result"] is True, "Qt's holder does not lock")
        if answer.status == 201:
            pair.error = "NoError"
        if self.compare(pair, "attach", reply, answer):
            require(reply["size"] == answer.json["size"], "size, Qt:", reply, answer)
            pair.mode, pair.size = mode, reply["size"]

    def detach(self, pair):
        name = self.called(pair.key)
        answer = self.ours(pair.session.detach(name, wait_ms=0, expect=None))
        if pair.mode and self.holder(pair):
            LEDGER.use("would-block")
            answer.expecting((423, "locked"))
            return
        if self.compare(pair, "detach", self.qt(pair, "detach"), answer):
            self.let_go(pair, answer.json["destroyed"])

    def lock(self, pair):
        answer = self.ours(pair.session.lock(self.called(pair.key), wait_ms=0, expect=None))
        if self.holder(pair, None if pair.mode else pair.lock_key):
            LEDGER.use("would-block")
            if pair.mode:
                answer.expecting((423, "locked"))
            else:
                require(answer.status >= 400, answer)
            return
        reply = self.qt(pair, "lock")
        if pair.mode:
            if self.compare(pair, "lock", reply, answer):
                pair.holds = True
            return
        # Of a segment that is not there ours says so.
        answer.expecting((409, "not-attached") if self.attached(pair.key) else (404, "not-found"))
        if reply["result"] is True:
            LEDGER.use("lock-of-a-detached-object")
            require(self.qt(pair, "unlock")["result"] is True, "Qt does not unlock")
        else:
            require(reply["error"] == "LockError", "Qt:", reply)
        pair.error = reply["error"]

    def unlock(self, pair):
        answer = self.ours(pair.session.unlock(self.called(pair.key), expect=None))
        reply = self.qt(pair, "unlock")
        if self.compare(pair, "unlock", reply, answer):
            pair.holds = False

    def read(self, pair, offset, length, locked):
        query = {"lock": "true", "wait_ms": 0} if locked else {}
        answer = self.ours(pair.session.read(
            self.called(pair.key), offset=offset, length=length, expect=None, **query))
        if not pair.mode:
            require(answer.status in (404, 409), answer)
            return
        if offset + length > pair.size:
            LEDGER.use("access-outside")
            answer.expecting((416, "out-of-range"))
            return
        if locked and self.holder(pair):
            LEDGER.use("would-block")
            answer.expecting((423, "locked"))
            return
        answer.expecting(200)
        must_lock = locked and not pair.holds
        require(not must_lock or self.qt(pair, "lock")["result"] is True, "Qt does not lock")
        octets = pair.qt.read(offset, length)
        require(not must_lock or self.qt(pair, "unlock")["result"] is True, "Qt does not unlock")
        require(octets == answer.body, "bytes, Qt:", octets, "ours:", answer.body)

    def write(self, pair, offset, octets, locked):
        query = {"lock": "true", "wait_ms": 0} if locked else {}
        answer = self.ours(pair.session.write(
            self.called(pair.key), bytes(octets), offset=offset, expect=None, **query))
        if not pair.mode:
            require(answer.status in (404, 409), answer)
        elif pair.mode == "ro":
            LEDGER.use("access-outside")
            answer.expecting((403, "read-only-attachment"))
        elif offset + len(octets) > pair.size:
            LEDGER.use("access-outside")
            answer.expecting((416, "out-of-range"))
        elif locked and self.holder(pair):
            LEDGER.use("would-block")
            answer.expecting((423, "locked"))
        else:
            answer.expecting(204)
            pair.qt.write(bytes(octets), offset)

    def set_key(self, pair, key):
        if pair.mode:
            answer = self.ours(pair.session.detach(self.called(pair.key), wait_ms=0, expect=None))
            if self.holder(pair):
                LEDGER.use("would-block")
                answer.expecting((423, "locked"))
                return
            answer.expecting(200)
            if key == pair.key:
                LEDGER.use("same-key-detaches")
        reply = self.qt(pair, "setKey", **self.qt_names[key].qt)
        require(reply["attached"] is False, "Qt:", reply)
        if pair.mode:
            self.let_go(pair, answer.json["destroyed"])
        pair.key, pair.handle, pair.error = key, None, reply["error"]

    # What holds after each step, and at the end.

    def compare_state(self, pair):
        state = pair.qt.state()
        answer = pair.session.attachment(self.called(pair.key), expect=None)
        require(state["attached"] is (answer.status == 200), "attached, Qt:", state, answer)
        require(state["attached"] is bool(pair.mode), "attached, Qt:", state, "not", pair.mode)
        require(state["size"] == pair.size, "size, Qt:", state, "not", pair.size)
        if pair.mode:
            told = answer.json
            require(told["size"] == pair.size and told["mode"] == HTTP_MODES[pair.mode], told)
            require(told["locked"] is pair.holds, told)

    def finish(self):
        """All bytes are the same; then everybody goes, and nothing of ours is left."""
        for pair in self.pairs:
            if pair.mode:
                answer = pair.session.read(self.called(pair.key), expect=200)
                require(pair.qt.read() == answer.body, "bytes at the end:", answer)
        for pair in self.pairs:
            if pair.holds:
                self.unlock(pair)
        for pair in self.pairs:
            pair.session.end()
            self.api.sessions.remove(pair.session)
        left = [thing for name in self.names
                for thing in (name.memory_file, name.lock_file) if os.path.exists(thing)]
        require(not left, "ours left:", left)
        for pair in self.pairs:
            require(not pair.qt.destroy().get("waiting"), "Qt waits in its destructor")
            self.look_at_files()
            if pair.mode:
                self.let_go(pair, len(self.attached(pair.key)) == 1)
        for name in self.qt_names:
            self.remove_file(name.memory_file)
        for file in self.files:
            file.forget()
        left = [thing for thing in self.debris.clean() if thing[0] != "file"]
        require(not left, "left in the kernel:", left)

    def clean(self):
        """After a failure: everything anew, for Qt may be stuck."""
        self.peer.kill()
        self.peer = self.qt_process()
        for pair in self.pairs:
            if pair.session in self.api.sessions:
                pair.session.end(expect=None)
                self.api.sessions.remove(pair.session)
        for file in self.files:
            file.forget()
        self.debris.clean()
