"""Qt objects and sessions of the server on two keys, beside a model that knows every answer."""
import uuid

from harness import kernel
from harness.differential import LEDGER, require
from harness.mixed_http import HttpMoves, HttpSide
from harness.mixed_qt import QtMoves, QtSide
from harness.place import Place
from harness.waiting import wait_until


class MixedWorld(QtMoves, HttpMoves):
    """Runs a sequence; the objects 0 to 2 are Qt's, of which 0 and 1 are in one process, and 3 to 5
    are sessions, of which 4 ends with its connection."""

    kind = "mixed"
    qt_numbers = (0, 1, 2)
    http_numbers = (3, 4, 5)
    objects_by_number = [*qt_numbers, *http_numbers]
    weights = {
        "create": 14, "attach": 24, "detach": 8, "take_lock": 12, "unlock": 10, "read": 6,
        "write": 8, "set_key": 6, "destroy": 3, "kill": 1, "end": 4, "expire": 0.7, "peek": 4,
        "poke": 6, "who": 4, "break_lock": 3,
    }

    def __init__(self, server, api, qt, directory, debris):
        self.server, self.api, self.start_qt = server, api, qt
        self.directory, self.debris = directory, debris
        self.processes = {"pair": qt(), "single": qt()}

    def run(self, kinds, steps):
        stem = "m" + uuid.uuid4().hex
        self.trace, self.objects = [], {}
        self.places = [Place(self, kernel.make_name(kind, f"{stem}{letter}", self.directory))
                       for kind, letter in zip(kinds, "ab")]
        for number in self.qt_numbers:
            process = "single" if number == 2 else "pair"
            place = self.places[number % 2]
            self.objects[number] = QtSide(process, self.new_object(process, place), place)
        for number in self.http_numbers:
            self.objects[number] = self.new_session(number)
        try:
            for step in steps:
                self.trace.append(f"  {step}")
                LEDGER.steps += 1
                self.make(*step)
                for place in self.places:
                    place.settle()
                    place.check_kernel()
                    place.look()
            self.finish()
        except AssertionError as problem:
            problem.trace = self.trace
            self.clean()
            raise

    def make(self, call, number, key, spelling, *arguments):
        """One step."""
        side = "qt" if number in self.qt_numbers else "http"
        method = getattr(self, f"{side}_{call}", None)
        if method is None:
            return
        place = self.places[key]
        if side == "http":
            method(number, place, place.called(spelling), *arguments)
        elif call == "set_key":
            method(number, place)
        else:
            method(number, *arguments)

    def qt_sides(self):
        return [self.objects[number] for number in self.qt_numbers if number in self.objects]

    def http_sides(self):
        return [self.objects[number] for number in self.http_numbers if number in self.objects]

    def new_object(self, process, place):
        return self.processes[process].segment(place.name)

    def new_session(self, number):
        if number != 4:
            return HttpSide(self.api.session(name="by hand"), None)
        session = self.api.session(name="bound", bind="connection")
        return HttpSide(session, self.api.stream(session.href + "/hold"))

    def await_end(self, session):
        wait_until(lambda: session.id[:8] not in {
            each["id"][:8] for each in self.api.get("/v1/sessions").json["sessions"]}, 10)

    def finish(self):
        """Everybody goes; a last session takes what Qt left."""
        for place in self.places:
            for number in self.qt_numbers:
                if place.qt_holds(number) is not None:
                    self.qt_unlock(number)
            place.settle()
            for one in place.sessions():
                octets = one.session.read(place.name, expect=200).body
                require(octets == place.data, "bytes at the end:", octets, place.data)
            if place.http_holder() is not None:
                self.http_unlock(place.http_holder(), place, place.name)
            for number in self.qt_numbers:
                one = self.objects[number]
                if "dead" in place.holders.values() and one.mode and one.place is place:
                    self.qt_kill(number)
        last = self.objects[3]
        for place in self.places:
            place.settle()
            place.check_kernel()
            if place.exists and place not in last.modes:
                last.session.attach(place.name)
                last.modes[place] = "rw"
        for number in self.qt_numbers:
            self.qt_destroy(number)
        clean = [place for place in self.places if place.exists and place.is_clean]
        for one in self.http_sides():
            if one.stream:
                one.stream.close()
            one.session.end(expect=None)
            self.api.sessions.remove(one.session)
        for place in self.places:
            place.files.forget()
        self.require_gone(self.debris.memories)
        if len(clean) == len(self.places):
            self.require_gone(self.debris.new)
        elif self.debris.new():
            LEDGER.use("lock-of-ours-stays")
        self.debris.clean()

    @staticmethod
    def require_gone(things):
        """A stream's end is noticed in its own time."""
        try:
            wait_until(lambda: not things(), 5.0)
        except AssertionError:
            require(False, "left:", things())

    def clean(self):
        """After a failure: everything anew."""
        for process in self.processes.values():
            process.kill()
        for one in self.http_sides():
            if one.stream:
                one.stream.close()
        self.api.end_sessions()
        self.processes = {name: self.start_qt() for name in self.processes}
        for place in self.places:
            place.files.forget()
        self.debris.clean()
