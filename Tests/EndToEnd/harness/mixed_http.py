"""What sessions, and requests without one, do in the mixed world."""
from harness.differential import HTTP_MODES, HUGE, LEDGER, require


class HttpSide:
    """A session, and how it is attached to which keys."""

    def __init__(self, session, stream):
        self.session, self.stream = session, stream
        self.modes = {}


class HttpMoves:
    """Requests, each beside what the model expects of it; `name` is the key as the request spells
    it."""

    def http(self, answer):
        self.trace.append(f"    ours: {answer}")
        return answer

    @staticmethod
    def require_id(answer, place):
        """One segment has one id, however it was spelt; without the plain key if nobody said it."""
        told = answer.json["segment"]
        require(told.split("?")[0] == place.name.id.split("?")[0], "id:", told, answer)

    def lock_refused(self, number, place):
        """Whether somebody keeps this session from the lock, as it finds by trying."""
        place.end_lost_hold(number)
        return place.is_kept_out(number)

    @staticmethod
    def refused_without_attachment(answer, place):
        answer.expecting((409, "not-attached") if place.exists else (404, "not-found"))

    def http_create(self, number, place, name, size, mode):
        one = self.objects[number]
        if name.path.startswith("shmid:"):
            name = place.name
        answer = self.http(one.session.create(name, size, mode=HTTP_MODES[mode], expect=None))
        if size <= 0 or size >= HUGE:
            answer.expecting((422, "invalid-size"))
        elif place.exists:
            answer.expecting((409, "already-exists"))
        else:
            require(answer.expecting(201).json["size"] == size, answer)
            self.require_id(answer, place)
            place.begin(size)
            one.modes[place] = mode

    def http_attach(self, number, place, name, mode):
        one = self.objects[number]
        answer = self.http(one.session.attach(name, mode=HTTP_MODES[mode], expect=None))
        if place in one.modes:
            answer.expecting((409, "already-attached"))
        elif not place.exists:
            answer.expecting((404, "not-found"))
        else:
            if place.holder() is not None or place.hold:
                LEDGER.use("attach-waits-for-the-lock")
            require(answer.expecting(201).json["size"] == place.size, answer)
            self.require_id(answer, place)
            one.modes[place], place.pending = mode, False

    def http_detach(self, number, place, name):
        one = self.objects[number]
        answer = self.http(one.session.detach(name, wait_ms=0, expect=None))
        if place not in one.modes:
            self.refused_without_attachment(answer, place)
        elif self.lock_refused(number, place):
            LEDGER.use("would-block")
            answer.expecting((423, "locked"))
        else:
            del one.modes[place]
            if place.http_holder() == number:
                place.drop_hold()
            else:
                place.end_lost_hold()
                place.took_lock()
            last = not place.is_used()
            require(answer.expecting(200).json["destroyed"] is last, answer, "last:", last)
            self.require_id(answer, place)
            if last:
                place.vanish()

    def http_take_lock(self, number, place, name):
        one = self.objects[number]
        answer = self.http(one.session.lock(name, wait_ms=0, expect=None))
        if place not in one.modes:
            self.refused_without_attachment(answer, place)
            return
        if place.intact() == number:
            require(answer.expecting(200).json["fencing_token"] == place.token, answer)
            return
        if place.http_holder() == number:
            place.drop_hold()
        if self.lock_refused(number, place):
            LEDGER.use("would-block")
            answer.expecting((423, "locked"))
            return
        place.end_lost_hold()
        token = answer.expecting(200).json["fencing_token"]
        require(token > place.token, "tokens only grow:", token, place.token)
        self.require_id(answer, place)
        place.token = token
        place.took_lock()
        place.hold = (number, place.semaphore())
        place.holders[place.semaphore()] = number

    def http_unlock(self, number, place, name):
        one = self.objects[number]
        answer = self.http(one.session.unlock(name, expect=None))
        if place not in one.modes:
            self.refused_without_attachment(answer, place)
        elif place.intact() == number:
            answer.expecting(204)
            place.drop_hold()
        else:
            answer.expecting((409, "not-locked"))
            if place.http_holder() == number:
                place.drop_hold()

    def work_is_refused(self, number, place):
        """Whether work under the lock is refused; the lock is taken for it if not."""
        place.end_lost_hold(number)
        if place.intact() is not None and place.intact() == number:
            return False
        if place.intact() is not None or place.holder() is not None:
            LEDGER.use("would-block")
            return True
        place.end_lost_hold()
        place.took_lock()
        return False

    def http_read(self, number, place, name, offset, length, locked):
        one = self.objects[number]
        query = {"lock": "true", "wait_ms": 0} if locked else {}
        answer = self.http(one.session.read(
            name, offset=offset, length=length, expect=None, **query))
        if place not in one.modes:
            self.refused_without_attachment(answer, place)
        elif offset + length > place.size:
            answer.expecting((416, "out-of-range"))
        elif locked and self.work_is_refused(number, place):
            answer.expecting((423, "locked"))
        else:
            require(answer.expecting(200).body == place.data[offset:offset + length], answer)

    def http_write(self, number, place, name, offset, octets, locked):
        one = self.objects[number]
        query = {"lock": "true", "wait_ms": 0} if locked else {}
        answer = self.http(one.session.write(
            name, bytes(octets), offset=offset, expect=None, **query))
        mode = one.modes.get(place)
        if mode is None:
            self.refused_without_attachment(answer, place)
        elif mode == "ro":
            answer.expecting((403, "read-only-attachment"))
        elif offset + len(octets) > place.size:
            answer.expecting((416, "out-of-range"))
        elif locked and self.work_is_refused(number, place):
            answer.expecting((423, "locked"))
        else:
            answer.expecting(204)
            place.store(offset, octets)

    def http_end(self, number, *_):
        """DELETE of the session, or its connection breaks; a new session takes its place."""
        one = self.objects[number]
        before = [(place, place.http_holder() == number, place.is_kept_out(number))
                  for place in one.modes]
        if one.stream:
            one.stream.close()
            self.await_end(one.session)
        else:
            released = self.http(one.session.end()).json["released"]
            require(len(released) == len(before), released)
        self.api.sessions.remove(one.session)
        self.objects[number] = self.new_session(number)
        for place, held, refused in before:
            if held:
                place.drop_hold()
            if not place.sessions():
                place.last_session_left(held, refused)

    def http_expire(self, _, place, name):
        """A session of its own attaches, takes the lock if it can, and expires."""
        if not place.exists:
            return
        session = self.api.session(ttl_ms=300)
        self.api.sessions.remove(session)
        session.attach(name)
        place.pending = False
        place.end_lost_hold()
        refused = place.intact() is not None or place.holder() is not None
        answer = self.http(session.lock(name, wait_ms=0, expect=None))
        answer.expecting((423, "locked") if refused else 200)
        if not refused:
            place.end_lost_hold()
            place.took_lock()
            place.token = answer.json["fencing_token"]
        self.await_end(session)
        if not place.sessions():
            place.last_session_left(not refused, refused)

    # Without a session.

    def http_peek(self, _, place, name, offset, length, __):
        answer = self.http(self.api.get(
            name.href + "/data", query={"offset": offset, "length": length}))
        if not place.exists:
            answer.expecting((404, "not-found"))
        elif offset + length > place.size:
            answer.expecting((416, "out-of-range"))
        else:
            require(answer.expecting(200).body == place.data[offset:offset + length], answer)

    def http_poke(self, _, place, name, offset, octets, __):
        answer = self.http(self.api.patch(
            name.href + "/data", query={"offset": offset, "wait_ms": 0}, body=bytes(octets)))
        if not place.exists:
            answer.expecting((404, "not-found"))
        elif offset + len(octets) > place.size:
            answer.expecting((416, "out-of-range"))
        elif place.semaphore() is not None and self.work_is_refused(None, place):
            answer.expecting((423, "locked"))
        else:
            answer.expecting(204)
            place.store(offset, octets)

    def http_who(self, _, place, name):
        """Who holds the lock."""
        answer = self.http(self.api.get(name.href + "/lock"))
        if not place.exists:
            answer.expecting((404, "not-found"))
            return
        state = answer.expecting(200).json["state"]
        if place.intact() is not None:
            require(state == "session", answer)
        elif not place.is_lost:
            require(state == ("free" if place.holder() is None else "external"), answer)

    def http_break_lock(self, _, place, name):
        """By force, if no living Qt object holds it: that one would not know."""
        if place.holder() in self.qt_numbers or not place.exists:
            return
        self.http(self.api.delete(name.href + "/lock", query={"force": "true"}, expect=204))
        place.took_lock()
        place.drop_hold()
