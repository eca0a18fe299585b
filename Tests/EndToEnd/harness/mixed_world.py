"""Qt objects and sessions of the server on one key, beside a model that knows every answer."""
import ctypes
import os
import struct
import uuid

from harness import kernel
from harness.differential import HTTP_MODES, HUGE, LEDGER, require
from harness.keyfile import KeptKeyFile
from harness.waiting import wait_until

GETVAL = 12
GETNCNT = 14
QT = [0, 1]
HTTP = [2, 3]


class QtSide:
    """A QSharedMemory in a process of its own, and what the model knows of it."""

    def __init__(self, process, segment):
        self.process, self.segment = process, segment
        self.fresh()

    def fresh(self):
        self.mode = None
        self.handle = None      # the System V key of the segment that it has in mind
        self.lock = None           # which semaphore it has open
        self.made_lock = False
        self.made_array = None


class HttpSide:
    """A session."""

    def __init__(self, session, stream=None):
        self.session, self.stream = session, stream
        self.mode = None


class MixedWorld:
    """Runs a sequence; the objects 0 and 1 are Qt's, 2 and 3 sessions."""

    kind = "mixed"

    def __init__(self, server, api, qt, directory, debris):
        self.server, self.api, self.start_qt = server, api, qt
        self.directory, self.debris = directory, debris
        self.processes = [qt(), qt()]

    def run(self, kinds, steps):
        self.name = kernel.make_name(kinds[0], "m" + uuid.uuid4().hex, self.directory)
        self.is_posix = self.name.is_posix
        self.file = KeptKeyFile(self.name)
        self.trace = []
        self.exists, self.size, self.data = False, 0, b""
        self.holders = {}       # semaphore -> object, or "dead"
        self.hold = None        # (session's object, semaphore) as the server sees it
        self.is_lost = False    # whether Qt took that hold away
        self.pending = False    # the server still has the memory, for want of the lock
        self.errand = False     # it waits for the lock to see whether to let go of the memory
        self.token = 0
        self.was_killed = False
        self.was_left_to_qt = False  # whether Qt destroyed a segment, but not the lock of ours
        self.objects = [QtSide(process, process.segment(self.name)) for process in self.processes]
        self.objects += [HttpSide(self.new_session(j)[0], None) for j in HTTP[:1]]
        self.objects += [HttpSide(*self.new_session(3))]
        try:
            for step in steps:
                self.trace.append(f"  {step}")
                LEDGER.steps += 1
                call, number, *arguments = step
                side = "qt" if number in QT else "http"
                method = getattr(self, f"{side}_{call}", None) or getattr(self, call, None)
                if method is None:
                    continue
                method(number, *arguments)
                self.settle()
                self.check_kernel()
                self.file.look()
            self.finish()
        except AssertionError as problem:
            problem.trace = self.trace
            self.clean()
            raise

    # Facts.

    def new_session(self, j):
        if j == 2:
            return self.api.session(name="by hand"), None
        session = self.api.session(name="bound", bind="connection")
        return session, self.api.stream(session.href + "/hold")

    def semaphore(self):
        """Which semaphore newcomers find."""
        if self.is_posix:
            try:
                return os.stat(self.name.lock_file).st_ino
            except FileNotFoundError:
                return None
        entry = kernel.semaphore(kernel.ftok(self.name.lock_file))
        return entry and entry["semid"]

    def key(self):
        """The System V key of the segment."""
        return None if self.is_posix else kernel.ftok(self.name.memory_file)

    def is_there(self, semaphore):
        """Whether a System V array is still there."""
        return any(entry["semid"] == semaphore for entry in kernel.table("sem"))

    def value(self):
        """The value of the semaphore that newcomers find."""
        if self.is_posix:
            with open(self.name.lock_file, "rb") as file:
                return struct.unpack("I", file.read(4))[0]
        return kernel.libc.semctl(ctypes.c_int(self.semaphore()), 0, GETVAL)

    def qt_attached(self):
        return sum(bool(self.objects[i].mode) for i in QT)

    def http_attached(self):
        return sum(bool(self.objects[j].mode) for j in HTTP)

    def is_used(self):
        return bool(self.qt_attached() or self.http_attached() or self.pending)

    def holder(self):
        """Who keeps the server from the lock: None, a Qt object, or "dead"."""
        holder = self.holders.get(self.semaphore())
        if holder == "dead" and not any(
                self.objects[i].lock == self.semaphore() for i in QT):
            return None
        return holder if holder in (0, 1, "dead") else None

    def intact(self):
        """The object whose session holds the lock and keeps others out."""
        if self.hold is None or self.is_lost:
            return None
        return self.hold[0]

    def http_holder(self):
        """The object whose session the server takes for the holder."""
        return self.hold[0] if self.hold else None

    def qt_lock(self, i):
        """Which semaphore a call of this Qt object will use; None for a new one."""
        lock = self.objects[i].lock
        if lock is not None and (self.is_posix or self.is_there(lock)):
            return lock
        return self.semaphore()

    def qt_blocks(self, i):
        """Whether a call of this Qt object that takes the lock would wait."""
        holder = self.holders.get(self.qt_lock(i))
        blocks = holder is not None and holder != i
        if blocks:
            LEDGER.use("dead-holder-keeps-a-posix-lock" if holder == "dead" else "would-block")
        return blocks

    def qt_holds(self, i):
        return next((lock for lock, holder in self.holders.items() if holder == i), None)

    # After a step.

    def take_hold_away(self):
        """Qt replaced or removed the semaphore: what the server's session held is no lock now."""
        if self.hold:
            self.is_lost = True

    def vanish(self):
        self.exists, self.data = False, b""

    def settle(self):
        """What the server does by itself once it can have the lock."""
        if self.holder() is not None or self.http_holder() is not None:
            return
        self.errand = False
        if self.pending:
            self.pending = False
            wait_until(lambda: not self.server_has_it(), 2.0, "that the server lets go")
            if not self.qt_attached():
                self.vanish()
                self.await_no_lock()

    def await_no_lock(self):
        """The server removes the semaphore after the memory, if it is the one that Qt has open."""
        locks = [one.lock for one in self.objects if isinstance(one, QtSide)]
        try:
            wait_until(lambda: self.is_posix or not any(map(self.is_there, locks)), 0.2)
        except AssertionError:
            self.trace.append("    another semaphore is left to its Qt object")

    def server_has_it(self):
        """Whether the server maps the memory (POSIX; the kernel counts the others)."""
        with open(f"/proc/{self.server.pid}/maps", encoding="utf-8") as file:
            return self.is_posix and f"{self.name.memory_file}\n" in file.read()

    def check_kernel(self):
        def agrees():
            if self.name.exists() != self.exists:
                return False
            if self.exists and not self.is_posix:
                return self.name.attachments() == self.qt_attached() + bool(
                    self.http_attached() or self.pending)
            return True

        try:
            wait_until(agrees, 1.0)
        except AssertionError:
            require(False, "the kernel: exists", self.name.exists(), "nattch",
                    None if self.is_posix or not self.name.exists() else self.name.attachments(),
                    "the model:", self.exists, self.qt_attached(), self.http_attached(),
                    self.pending)
        semaphore = self.semaphore()
        if semaphore is None:
            return
        if self.holders.get(semaphore) == "dead":
            if self.value() > 0:  # whoever took the lock next revived it
                del self.holders[semaphore]
            return
        expected = 0 if semaphore in self.holders else 1
        try:
            wait_until(lambda: self.value() == expected, 1.0)
        except AssertionError:
            require(False, "the semaphore is", self.value(), "not", expected)

    # Qt.

    def qt(self, i, op, uses_lock=True, **fields):
        one = self.objects[i]
        before = self.semaphore()
        reply = one.segment.call(op, timeoutMs=1500, **fields)
        require(not reply.get("waiting"), "Qt waits in", op)
        self.trace.append(f"    Qt: {reply}")
        self.qt_after(one, op, before, uses_lock)
        return reply

    def qt_after(self, one, op, before, uses_lock):
        """What the call did to lock and key file."""
        after = self.semaphore()
        if op == "create" or after != before and after is not None and op != "destroy":
            one.made_lock = True
        if op == "create" or uses_lock and (
                one.lock is None or not self.is_posix and not self.is_there(one.lock)):
            one.lock = after or one.lock  # None: the server has just removed what Qt had open
        if self.file.look():
            LEDGER.use("lock-maker-removes-the-key-file")
        if self.hold and not self.is_lost:
            gone = (self.semaphore() != self.hold[1] if self.is_posix
                    else not self.is_there(self.hold[1])
                    or os.path.exists(self.name.lock_file) and self.semaphore() != self.hold[1])
            if gone:
                LEDGER.use("lock-removed-under-its-users")
                self.take_hold_away()
        if not self.is_posix:
            for lock in [lock for lock in self.holders if not self.is_there(lock)]:
                del self.holders[lock]

    def forget_orphan(self, one):
        """What Qt does first in create() and attach()."""
        if self.is_posix or not one.handle or one.mode:
            return
        if self.exists and not self.is_used() and kernel.shared_memory(one.handle):
            LEDGER.use("orphan-destroyed-on-the-way")
            self.was_left_to_qt = True
            self.vanish()
        one.handle = None

    def is_stale(self, i):
        """Whether this Qt object's handles are of things that are gone, so that Qt stumbles."""
        one = self.objects[i]
        if self.is_posix:
            return False
        if one.handle and not one.mode and not kernel.shared_memory(one.handle):
            LEDGER.use("handle-of-a-gone-segment")
            return True
        if one.lock is not None and not self.is_there(one.lock):
            LEDGER.use("lock-removed-twice")
            return True
        return False

    def renew_if_stale(self, i):
        if self.is_stale(i):
            self.qt_destroy(i)

    def qt_create(self, i, size, mode):
        if self.objects[i].mode is None:
            self.renew_if_stale(i)
        one = self.objects[i]
        if self.holders.get(self.semaphore()) in QT or self.qt_holds(i) is not None:
            LEDGER.use("create-by-the-holder")
            return
        if self.name.kind == "systemv" and one.made_lock and self.exists:
            LEDGER.use("create-remakes-the-key-file")
            return
        if not self.is_posix and one.lock is not None and not self.is_there(one.lock):
            LEDGER.use("lock-removed-twice")
            return
        if one.mode and size <= 0:
            LEDGER.use("create-forgets-the-segment")
            return
        if size >= HUGE and self.is_posix and not self.exists:
            LEDGER.use("huge-file-stays")
            return
        self.forget_orphan(one)
        if self.exists or self.hold:
            LEDGER.use("create-replaces-the-lock")
        if self.hold and not self.is_lost:
            self.take_hold_away()
        self.holders.pop(self.semaphore(), None) if not self.is_posix else None
        reply = self.qt(i, "create", size=size, mode=mode)
        expected = ("InvalidSize" if size <= 0 else "AlreadyExists" if self.exists
                    else "OutOfResources" if size >= HUGE else None)
        if size >= HUGE:
            LEDGER.use("size-limit")
        require(reply["result"] is (expected is None), "Qt:", reply, "expected:", expected)
        one.handle = self.key() if size > 0 else None
        if expected:
            require(reply["error"] == expected, "Qt:", reply, "expected:", expected)
            if size >= HUGE and not self.exists:
                self.qt_destroy(i)
            return
        require(reply["size"] == size, "Qt:", reply)
        self.exists, self.size, self.data = True, size, bytes(size)
        one.mode = mode

    def qt_attach(self, i, mode):
        one = self.objects[i]
        if one.mode:
            require(self.qt(i, "attach", False, mode=mode)["result"] is False, "attached twice")
            return
        if self.qt_blocks(i):
            return
        self.renew_if_stale(i)
        one = self.objects[i]
        self.forget_orphan(one)
        reply = self.qt(i, "attach", mode=mode)
        require(reply["result"] is self.exists, "Qt:", reply, "exists:", self.exists)
        one.handle = self.key() if self.exists else None
        if self.exists:
            require(reply["size"] == self.size, "Qt:", reply)
            one.mode = mode
        else:
            require(reply["error"] == "NotFound", "Qt:", reply)

    def qt_let_go(self, i):
        """The object is detached, and gave up the lock if it held it."""
        one = self.objects[i]
        one.mode, one.handle = None, None
        if not self.is_used():
            if self.is_posix:
                LEDGER.use("memory-stays")
            else:
                self.was_left_to_qt = True
                self.vanish()

    def qt_detach(self, i):
        one = self.objects[i]
        if one.mode is None:
            require(self.qt(i, "detach", False)["result"] is False, "detached twice")
        elif not self.qt_blocks(i):
            held = self.qt_holds(i)
            if held is not None:
                del self.holders[held]
            self.qt_let_go(i)
            require(self.qt(i, "detach")["result"] is True, "Qt's detach() failed")

    def qt_take_lock(self, i):
        one = self.objects[i]
        if one.mode is None:
            LEDGER.use("lock-of-a-detached-object")
        elif not self.qt_blocks(i):
            require(self.qt(i, "lock")["result"] is True, "Qt does not lock")
            self.holders[one.lock] = i

    def qt_unlock(self, i):
        held = self.qt_holds(i)
        reply = self.qt(i, "unlock", held is not None)
        require(reply["result"] is (held is not None), "Qt:", reply, "held:", held)
        if held is not None:
            self.holders.pop(held, None)

    def qt_read(self, i, offset, length, _):
        if self.objects[i].mode and offset + length <= self.size:
            octets = self.objects[i].segment.read(offset, length)
            require(octets == self.data[offset:offset + length], "Qt reads", octets)

    def qt_write(self, i, offset, octets, _):
        if self.objects[i].mode == "rw" and offset + len(octets) <= self.size:
            self.objects[i].segment.write(bytes(octets), offset)
            self.store(offset, octets)

    def store(self, offset, octets):
        self.data = self.data[:offset] + bytes(octets) + self.data[offset + len(octets):]

    def lock_is_needed(self, i):
        """Whether to remove what this object made would take a lock from another Qt object."""
        one = self.objects[i]
        if one.made_lock and not self.is_posix and any(
                holder in QT and holder != i for holder in self.holders.values()):
            LEDGER.use("lock-removed-under-its-users")
            return True
        return one.made_lock and self.errand  # the server waits for that very lock

    def qt_set_key(self, i, _):
        """Set the key that the object has."""
        one = self.objects[i]
        if one.mode and self.qt_blocks(i):
            return
        held = self.qt_holds(i)
        if held is not None:
            del self.holders[held]
        was_attached = bool(one.mode)
        if one.mode:
            LEDGER.use("same-key-detaches")
            self.qt_let_go(i)
        else:
            self.forget_orphan(one)
        reply = self.qt(i, "setKey", was_attached, **self.name.qt)
        require(reply["attached"] is False, "Qt:", reply)

    def await_calm(self):
        """A refused request may leave a thread of the server at the semaphore for a moment."""
        if not self.is_posix and not self.errand and self.semaphore() is not None:
            wait_until(lambda: kernel.libc.semctl(self.semaphore(), 0, GETNCNT) <= 0, 1.0)

    def qt_destroy(self, i):
        """The destructor; a new object takes its place."""
        one = self.objects[i]
        if one.mode and self.qt_blocks(i) or self.lock_is_needed(i):
            return
        self.await_calm()
        held = self.qt_holds(i)
        if held is not None:
            self.holders.pop(held, None)
        if one.mode:
            self.qt_let_go(i)
        else:
            self.forget_orphan(one)
        reply = one.segment.destroy()
        require(not reply.get("waiting"), "Qt waits in its destructor")
        one.segment = one.process.segment(self.name)
        one.fresh()
        self.qt_after(one, "destroy", None, False)

    def qt_kill(self, i):
        """kill -9; a new process takes its place."""
        one = self.objects[i]
        LEDGER.use("kill-leaves")
        self.was_killed = True
        one.process.kill()
        held = self.qt_holds(i)
        if held is not None:
            if self.is_posix:
                self.holders[held] = "dead"
            else:
                del self.holders[held]
        process = self.start_qt()
        self.processes[i] = process
        self.objects[i] = QtSide(process, process.segment(self.name))

    # HTTP.

    def http(self, answer):
        self.trace.append(f"    ours: {answer}")
        return answer

    def lock_refused(self, j):
        """Whether somebody keeps this session from the lock, as it finds by trying."""
        self.end_lost_hold(j)
        return self.is_kept_out(j)

    def is_kept_out(self, j):
        if self.http_holder() == j:
            return False
        return self.intact() is not None or self.holder() is not None

    def end_lost_hold(self, j=None):
        """The server notices that a hold is no lock any more."""
        if self.is_lost and self.http_holder() != j:
            self.drop_hold()

    def drop_hold(self):
        if self.hold and self.holders.get(self.hold[1]) == self.hold[0]:
            del self.holders[self.hold[1]]  # those who have it open found it taken until now
        self.hold, self.is_lost = None, False

    def took_lock(self):
        """Something was done under the lock; a dead holder's is alive again."""
        if self.holders.get(self.semaphore()) == "dead":
            del self.holders[self.semaphore()]

    def http_create(self, j, size, mode):
        one = self.objects[j]
        answer = self.http(one.session.create(self.name, size, mode=HTTP_MODES[mode], expect=None))
        if size <= 0 or size >= HUGE:
            answer.expecting((422, "invalid-size"))
        elif self.exists:
            answer.expecting((409, "already-exists"))
        else:
            require(answer.expecting(201).json["size"] == size, answer)
            self.exists, self.size, self.data = True, size, bytes(size)
            one.mode = mode

    def http_attach(self, j, mode):
        one = self.objects[j]
        answer = self.http(one.session.attach(self.name, mode=HTTP_MODES[mode], expect=None))
        if one.mode:
            answer.expecting((409, "already-attached"))
        elif not self.exists:
            answer.expecting((404, "not-found"))
        else:
            if self.holder() is not None or self.hold:
                LEDGER.use("attach-waits-for-the-lock")
            require(answer.expecting(201).json["size"] == self.size, answer)
            one.mode, self.pending = mode, False

    def refused_without_attachment(self, answer):
        answer.expecting((409, "not-attached") if self.exists else (404, "not-found"))

    def http_detach(self, j):
        one = self.objects[j]
        answer = self.http(one.session.detach(self.name, wait_ms=0, expect=None))
        if one.mode is None:
            self.refused_without_attachment(answer)
        elif self.lock_refused(j):
            LEDGER.use("would-block")
            answer.expecting((423, "locked"))
        else:
            self.http_let_go(j)
            last = not self.is_used()
            require(answer.expecting(200).json["destroyed"] is last, answer, "last:", last)
            if last:
                self.vanish()

    def http_let_go(self, j):
        self.objects[j].mode = None
        if self.http_holder() == j:
            self.drop_hold()
        else:
            self.end_lost_hold()

    def http_take_lock(self, j):
        one = self.objects[j]
        answer = self.http(one.session.lock(self.name, wait_ms=0, expect=None))
        if one.mode is None:
            self.refused_without_attachment(answer)
            return
        if self.intact() == j:
            require(answer.expecting(200).json["fencing_token"] == self.token, answer)
            return
        if self.http_holder() == j:
            self.drop_hold()
        if self.lock_refused(j):
            LEDGER.use("would-block")
            answer.expecting((423, "locked"))
            return
        self.end_lost_hold()
        token = answer.expecting(200).json["fencing_token"]
        require(token > self.token, "tokens only grow:", token, self.token)
        self.token = token
        self.took_lock()
        self.hold = (j, self.semaphore())
        self.holders[self.semaphore()] = j

    def http_unlock(self, j):
        one = self.objects[j]
        answer = self.http(one.session.unlock(self.name, expect=None))
        if one.mode is None:
            self.refused_without_attachment(answer)
        elif self.intact() == j:
            answer.expecting(204)
            self.drop_hold()
        else:
            answer.expecting((409, "not-locked"))
            if self.http_holder() == j:
                self.drop_hold()

    def http_read(self, j, offset, length, locked):
        query = {"lock": "true", "wait_ms": 0} if locked else {}
        answer = self.http(self.objects[j].session.read(
            self.name, offset=offset, length=length, expect=None, **query))
        if self.objects[j].mode is None:
            self.refused_without_attachment(answer)
        elif offset + length > self.size:
            answer.expecting((416, "out-of-range"))
        elif locked and self.not_locked_for(j):
            answer.expecting((423, "locked"))
        else:
            require(answer.expecting(200).body == self.data[offset:offset + length], answer)

    def not_locked_for(self, j):
        """Whether work under the lock is refused; the lock is taken for it if not."""
        self.end_lost_hold(j)
        if self.intact() is not None and self.intact() == j:
            return False
        if self.intact() is not None or self.holder() is not None:
            LEDGER.use("would-block")
            return True
        self.end_lost_hold()
        self.took_lock()
        return False

    def http_write(self, j, offset, octets, locked):
        query = {"lock": "true", "wait_ms": 0} if locked else {}
        answer = self.http(self.objects[j].session.write(
            self.name, bytes(octets), offset=offset, expect=None, **query))
        mode = self.objects[j].mode
        if mode is None:
            self.refused_without_attachment(answer)
        elif mode == "ro":
            answer.expecting((403, "read-only-attachment"))
        elif offset + len(octets) > self.size:
            answer.expecting((416, "out-of-range"))
        elif locked and self.not_locked_for(j):
            answer.expecting((423, "locked"))
        else:
            answer.expecting(204)
            self.store(offset, octets)

    def http_end(self, j):
        """DELETE of the session, or its connection breaks; a new session takes its place."""
        one = self.objects[j]
        had, held = bool(one.mode), self.http_holder() == j
        refused = self.is_kept_out(j)
        if one.stream:
            one.stream.close()
            wait_until(lambda: one.session.id[:8] not in {
                each["id"][:8] for each in self.api.get("/v1/sessions").json["sessions"]}, 5)
        else:
            self.http(one.session.end())
        self.api.sessions.remove(one.session)
        self.ended(j, had, held, refused)
        self.objects[j] = HttpSide(*self.new_session(j))

    def ended(self, j, had, held, refused):
        self.objects[j].mode = None
        if held:
            self.drop_hold()
        if had and not self.http_attached():
            if refused:
                self.pending, self.errand = True, True
            else:
                if not held:
                    self.end_lost_hold()
                    self.took_lock()
                if not self.qt_attached():
                    self.vanish()

    def expire(self, _):
        """A session of its own attaches, takes the lock if it can, and expires."""
        if not self.exists:
            return
        session = self.api.session(ttl_ms=100)
        self.api.sessions.remove(session)
        session.attach(self.name)
        self.pending = False
        self.end_lost_hold()
        refused = self.intact() is not None or self.holder() is not None
        answer = self.http(session.lock(self.name, wait_ms=0, expect=None))
        answer.expecting((423, "locked") if refused else 200)
        if not refused:
            self.end_lost_hold()
            self.took_lock()
            self.token = answer.json["fencing_token"]
        wait_until(lambda: session.id[:8] not in {
            each["id"][:8] for each in self.api.get("/v1/sessions").json["sessions"]}, 5)
        if not self.http_attached():
            if refused:
                self.pending, self.errand = True, True
            elif not self.qt_attached():
                self.vanish()

    # Without a session.

    def peek(self, _, offset, length, __):
        answer = self.http(self.api.get(
            self.name.href + "/data", query={"offset": offset, "length": length}))
        if not self.exists:
            answer.expecting((404, "not-found"))
        elif offset + length > self.size:
            answer.expecting((416, "out-of-range"))
        else:
            require(answer.expecting(200).body == self.data[offset:offset + length], answer)

    def poke(self, _, offset, octets, __):
        answer = self.http(self.api.patch(
            self.name.href + "/data", query={"offset": offset, "wait_ms": 0}, body=bytes(octets)))
        if not self.exists:
            answer.expecting((404, "not-found"))
        elif offset + len(octets) > self.size:
            answer.expecting((416, "out-of-range"))
        elif self.semaphore() is not None and self.not_locked_for(None):
            answer.expecting((423, "locked"))
        else:
            answer.expecting(204)
            self.store(offset, octets)

    def who(self, _):
        """Who holds the lock."""
        answer = self.http(self.api.get(self.name.href + "/lock"))
        if not self.exists:
            answer.expecting((404, "not-found"))
            return
        state = answer.expecting(200).json["state"]
        if self.intact() is not None:
            require(state == "session", answer)
        elif not self.is_lost:
            require(state == ("free" if self.holder() is None else "external"), answer)

    def break_lock(self, _):
        """By force, if no living Qt object holds it: that one would not know."""
        if self.holder() in QT or not self.exists:
            return
        self.http(self.api.delete(self.name.href + "/lock", query={"force": "true"}, expect=204))
        self.took_lock()
        self.drop_hold()

    # The end.

    def finish(self):
        """Everybody goes; a last session takes what Qt left."""
        for i in QT:
            if self.qt_holds(i) is not None:
                self.qt_unlock(i)
        self.settle()
        for j in HTTP:
            if self.objects[j].mode:
                octets = self.objects[j].session.read(self.name, expect=200).body
                require(octets == self.data, "bytes at the end:", octets, self.data)
        for j in HTTP:
            if self.http_holder() == j:
                self.http_unlock(j)
        for i in QT:
            if any(holder == "dead" for holder in self.holders.values()) and self.objects[i].mode:
                self.qt_kill(i)
        self.settle()
        self.check_kernel()
        if self.exists and not self.objects[2].mode:
            self.objects[2].session.attach(self.name)
            self.objects[2].mode = "rw"
        for i in QT:
            self.qt_destroy(i)
        was_last = any(self.objects[j].mode for j in HTTP)
        for j in HTTP:
            one = self.objects[j]
            if one.stream:
                one.stream.close()
            one.session.end(expect=None)
            self.api.sessions.remove(one.session)
        self.file.forget()
        self.require_gone(self.debris.memories)
        if was_last and not self.was_killed and not self.was_left_to_qt:
            self.require_gone(self.debris.new)
        elif self.debris.new():
            LEDGER.use("kill-leaves" if self.was_killed else "lock-of-ours-stays")
        self.debris.clean()

    @staticmethod
    def require_gone(things):
        """A stream's end is noticed in its own time."""
        try:
            wait_until(lambda: not things(), 2.0)
        except AssertionError:
            require(False, "left:", things())

    def clean(self):
        """After a failure: everything anew."""
        for process in self.processes:
            process.kill()
        for one in self.objects[2:]:
            if isinstance(one, HttpSide) and one.stream:
                one.stream.close()
        self.api.end_sessions()
        self.processes = [self.start_qt(), self.start_qt()]
        self.file.forget()
        self.debris.clean()
