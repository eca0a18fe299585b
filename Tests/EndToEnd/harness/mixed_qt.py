"""What Qt's objects do in the mixed world."""
from harness import kernel
from harness.differential import HUGE, LEDGER, require
from harness.place import is_there


class QtSide:
    """A QSharedMemory, and what the model knows of it."""

    def __init__(self, process, segment, place):
        self.process = process
        self.fresh(segment, place)

    def fresh(self, segment, place):
        self.segment, self.place = segment, place
        self.mode = None
        self.handle = None      # the System V key of the segment that it has in mind
        self.lock = None        # which semaphore it has open,
        self.lock_place = None  # and of which key: create() and attach() change that
        self.made_lock = False


class QtMoves:
    """Calls of Qt, each beside what the model expects of it."""

    def qt_lock(self, one):
        """Which semaphore a call of this Qt object will use; None for a new one."""
        if one.lock is not None and one.lock_place is one.place and (
                one.place.is_posix or is_there(one.lock)):
            return one.lock
        return one.place.semaphore()

    def qt_blocks(self, number):
        """Whether a call of this Qt object that takes the lock would wait."""
        one = self.objects[number]
        holder = one.place.holders.get(self.qt_lock(one))
        blocks = holder is not None and holder != number
        if blocks:
            LEDGER.use("dead-holder-keeps-a-posix-lock" if holder == "dead" else "would-block")
        return blocks

    def qt(self, number, op, uses_lock=True, **fields):
        one = self.objects[number]
        place, left = one.place, None
        if op in ("create", "attach") and uses_lock and one.lock_place is not place:
            left, one.lock, one.lock_place, one.made_lock = one.lock_place, None, place, False
        before = place.semaphore()
        reply = one.segment.call(op, timeoutMs=3000, **fields)
        require(not reply.get("waiting"), "Qt waits in", op)
        self.trace.append(f"    Qt: {reply}")
        after = place.semaphore()
        if op == "create" or uses_lock and op != "setKey" and after not in (before, None):
            one.made_lock = True
        if op == "create" or uses_lock and op != "setKey" and (
                one.lock is None or not place.is_posix and not is_there(one.lock)):
            one.lock = after or one.lock  # None: the server has just removed what Qt had open
        for touched in filter(None, (place, left)):
            touched.look_after_qt()
        return reply

    def qt_has_to_wait_for_its_old_lock(self, number):
        """Whether to remove the lock of the object's other key would take it from somebody."""
        one = self.objects[number]
        left = one.lock_place
        if left is None or left is one.place:
            return False
        if one.lock is not None and not left.is_posix and not is_there(one.lock):
            LEDGER.use("lock-removed-twice")
            return True
        if self.lock_is_needed(number):
            return True
        left.await_calm()
        return False

    def lock_is_needed(self, number):
        """Whether to remove what this object made would take a lock from another Qt object."""
        one = self.objects[number]
        place = one.lock_place
        if place is None or not one.made_lock:
            return False
        if not place.is_posix and place.is_held_by_qt(but=number):
            LEDGER.use("lock-removed-under-its-users")
            return True
        return place.errand  # the server waits for that very lock

    def forget_orphan(self, one):
        """What Qt does first in create() and attach()."""
        place = one.place
        if place.is_posix or not one.handle or one.mode:
            return
        if place.exists and not place.is_used() and kernel.shared_memory(one.handle):
            LEDGER.use("orphan-destroyed-on-the-way")
            place.vanish(by_qt=True)
        one.handle = None

    def renew_if_stale(self, number):
        """An object whose handles are of things that are gone stumbles; another takes its place."""
        one = self.objects[number]
        if one.handle and not one.mode and not kernel.shared_memory(one.handle):
            LEDGER.use("handle-of-a-gone-segment")
        elif one.lock is not None and not one.lock_place.is_posix and not is_there(one.lock):
            LEDGER.use("lock-removed-twice")
        else:
            return
        self.qt_destroy(number)

    def qt_create(self, number, size, mode):
        if self.objects[number].mode is None:
            self.renew_if_stale(number)
        one = self.objects[number]
        place = one.place
        if place.is_held_by_qt() or place.qt_holds(number) is not None:
            LEDGER.use("create-by-the-holder")
            return
        made_this = one.made_lock and one.lock_place is place
        if place.name.shares_file and not place.is_posix and made_this and place.exists:
            LEDGER.use("create-remakes-the-key-file")
            return
        if one.lock is not None and not one.lock_place.is_posix and not is_there(one.lock):
            LEDGER.use("lock-removed-twice")
            return
        if one.mode and size <= 0:
            LEDGER.use("create-forgets-the-segment")
            return
        if size >= HUGE and place.is_posix and not place.exists:
            LEDGER.use("huge-file-stays")
            return
        if self.qt_has_to_wait_for_its_old_lock(number):
            return
        self.forget_orphan(one)
        if place.exists or place.hold:
            LEDGER.use("create-replaces-the-lock")
        if not place.is_lost:
            place.take_hold_away()
        if not place.is_posix:
            place.holders.pop(place.semaphore(), None)
        reply = self.qt(number, "create", size=size, mode=mode)
        expected = ("InvalidSize" if size <= 0 else "AlreadyExists" if place.exists
                    else "OutOfResources" if size >= HUGE else None)
        if size >= HUGE:
            LEDGER.use("size-limit")
        require(reply["result"] is (expected is None), "Qt:", reply, "expected:", expected)
        one.handle = place.name.memory_key() if size > 0 and not place.is_posix else None
        if expected:
            require(reply["error"] == expected, "Qt:", reply, "expected:", expected)
            if size >= HUGE and not place.exists:
                self.qt_destroy(number)
            return
        require(reply["size"] == size, "Qt:", reply)
        place.begin(size)
        one.mode = mode

    def qt_attach(self, number, mode):
        one = self.objects[number]
        if one.mode:
            require(self.qt(number, "attach", False, mode=mode)["result"] is False,
                    "attached twice")
            return
        if self.qt_blocks(number):
            return
        self.renew_if_stale(number)
        if self.qt_has_to_wait_for_its_old_lock(number):
            return
        one, place = self.objects[number], self.objects[number].place
        self.forget_orphan(one)
        reply = self.qt(number, "attach", mode=mode)
        require(reply["result"] is place.exists, "Qt:", reply, "exists:", place.exists)
        if not place.exists:
            one.handle = None
            require(reply["error"] == "NotFound", "Qt:", reply)
            return
        one.handle = None if place.is_posix else place.name.memory_key()
        require(reply["size"] == place.size, "Qt:", reply)
        one.mode = mode

    def qt_let_go(self, number):
        """The object is detached, and gave up the lock if it held it."""
        one = self.objects[number]
        place = one.place
        place.holders.pop(place.qt_holds(number), None)
        one.mode, one.handle = None, None
        if not place.is_used():
            if place.is_posix:
                LEDGER.use("memory-stays")
            else:
                place.vanish(by_qt=True)

    def qt_detach(self, number):
        if self.objects[number].mode is None:
            require(self.qt(number, "detach", False)["result"] is False, "detached twice")
        elif not self.qt_blocks(number):
            self.qt_let_go(number)
            require(self.qt(number, "detach")["result"] is True, "Qt's detach() failed")

    def qt_take_lock(self, number):
        one = self.objects[number]
        if one.mode is None:
            LEDGER.use("lock-of-a-detached-object")
        elif not self.qt_blocks(number):
            require(self.qt(number, "lock")["result"] is True, "Qt does not lock")
            one.place.holders[one.lock] = number

    def qt_unlock(self, number):
        place = self.objects[number].place
        held = place.qt_holds(number)
        reply = self.qt(number, "unlock", held is not None)
        require(reply["result"] is (held is not None), "Qt:", reply, "held:", held)
        place.holders.pop(held, None)

    def qt_read(self, number, offset, length, _):
        one = self.objects[number]
        if one.mode and offset + length <= one.place.size:
            octets = one.segment.read(offset, length)
            require(octets == one.place.data[offset:offset + length], "Qt reads", octets)

    def qt_write(self, number, offset, octets, _):
        one = self.objects[number]
        if one.mode == "rw" and offset + len(octets) <= one.place.size:
            one.segment.write(bytes(octets), offset)
            one.place.store(offset, octets)

    def qt_set_key(self, number, place):
        """Give the object the other key, or the one that it has."""
        one = self.objects[number]
        if one.mode and self.qt_blocks(number):
            return
        was_attached = bool(one.mode)
        if one.mode:
            if place is one.place:
                LEDGER.use("same-key-detaches")
            self.qt_let_go(number)
        else:
            self.forget_orphan(one)
        reply = self.qt(number, "setKey", was_attached, **place.name.qt)
        require(reply["attached"] is False, "Qt:", reply)
        one.place, one.handle = place, None

    def qt_destroy(self, number):
        """The destructor; a new object takes its place."""
        one = self.objects[number]
        if one.mode and self.qt_blocks(number) or self.lock_is_needed(number):
            return
        touched = [place for place in {one.place, one.lock_place} if place]
        for place in touched:
            place.await_calm()
        if one.mode:
            self.qt_let_go(number)
        else:
            self.forget_orphan(one)
        reply = one.segment.destroy()
        require(not reply.get("waiting"), "Qt waits in its destructor")
        one.fresh(self.new_object(one.process, one.place), one.place)
        for place in touched:
            place.look_after_qt()

    def qt_kill(self, number):
        """kill -9; a new process takes its place, with new objects."""
        LEDGER.use("kill-leaves")
        name = self.objects[number].process
        self.processes[name].kill()
        self.processes[name] = self.start_qt()
        for other in self.qt_numbers:
            one = self.objects[other]
            if one.process != name:
                continue
            for place in self.places:
                place.is_clean = False
                held = place.qt_holds(other)
                if held is not None and place.is_posix:
                    place.holders[held] = "dead"
                elif held is not None:
                    del place.holders[held]  # the kernel gave it back
            one.fresh(self.new_object(name, one.place), one.place)
