"""Random sequences of calls: how they are made, run, made shorter and shown."""
import collections
import json
import os
import random
import time
from dataclasses import dataclass

from harness import kernel


@dataclass(frozen=True)
class Difference:
    """Something in which Qt and the server are known to differ."""

    name: str
    when: str
    qt: str
    ours: str
    handled: str
    why: str


DIFFERENCES = {one.name: one for one in [
    # What Qt does otherwise by mistake.
    Difference(
        "memory-stays", "the last detach from a POSIX segment",
        "leaves the memory in /dev/shm for good", "removes memory and lock",
        "two worlds: the file is unlinked for Qt; mixed: the next session to be last removes it",
        "nothing counts POSIX references for Qt; its own tests unlink as well"),
    Difference(
        "create-replaces-the-lock", "create() of a segment that exists or under somebody's lock",
        "replaces (POSIX) or resets (System V) the semaphore before it fails",
        "answers without touching the lock",
        "two worlds: only answers are compared; mixed: a session that held the lock has lost it",
        "whoever held the lock would no longer exclude anybody"),
    Difference(
        "create-by-the-holder", "create() by the object that holds the lock",
        "gives the lock up on its way out, and strands those who have the old semaphore open",
        "the lock stays with its holder", "not called on Qt",
        "a call that fails changes nothing"),
    Difference(
        "create-remakes-the-key-file",
        "create() of an existing System V segment by the object that made its semaphore",
        "removes the key file and makes another; with another inode that is another key, and a "
        "second segment of the same name comes to be",
        "already-exists", "not called on Qt", "what Qt does here depends on the file system"),
    Difference(
        "lock-maker-removes-the-name",
        "an object that made, reset or replaced a lock goes or gets another key",
        "removes the key file, or the POSIX semaphore, by name, whoever uses it: newcomers find "
        "another lock, and with a native System V key no segment",
        "keeps the name as long as the segment",
        "the file is put back under its name, the same inode, as if Qt had left it",
        "the model stays exact; for a native key, segment and lock share the file"),
    Difference(
        "lock-removed-under-its-users", "a Qt object that made the lock goes or gets another key",
        "removes the semaphore, whoever uses or holds it", "removes it with the segment only",
        "two worlds: only answers are compared; mixed: a session that held it has lost it, and it "
        "is not called while another Qt object holds a System V lock",
        "the holder would not exclude newcomers"),
    Difference(
        "lock-of-a-detached-object", "lock() by an object that was attached or tried to be",
        "true: the object keeps the lock's handle", "not-attached",
        "two worlds: Qt unlocks again; mixed: not called on Qt",
        "a lock without an attachment would outlive its segment"),
    Difference(
        "same-key-detaches", "setting the key that the object has",
        "detaches, though documented to do nothing", "a key is only how a request names a segment",
        "ours detaches too", "there is no call for it"),
    Difference(
        "error-not-cleared", "a successful lock() or detach() after a failure",
        "keeps the old error", "each answer speaks for itself",
        "the old error is expected of Qt", "nobody looks for an error after a success"),
    Difference(
        "handle-of-a-gone-segment",
        "create() or attach() by an object that used a System V key whose segment has gone since",
        "false, without an error of its own, for it fails to look at the old segment; once more, "
        "and it works", "created, or not-found", "called again on Qt",
        "Qt cleans its handle up, and takes that nothing is there for a failure"),
    Difference(
        "create-forgets-the-segment",
        "create() with an invalid size by an object that is attached (System V)",
        "fails, but forgets its handle: its detach() as the last does not destroy the segment",
        "invalid-size, and nothing has changed", "the segment is removed for Qt",
        "Qt cleans up before it looks at the size"),
    Difference(
        "lock-removed-twice",
        "create() or attach() by an object that made the System V lock, which went since, with "
        "another object or with the segment",
        "UnknownError, for its semaphore is gone; once more, and it works",
        "a lock that was removed is made again",
        "two worlds: called again on Qt; mixed: a new Qt object takes its place",
        "each object that replaced a semaphore removes it"),
    Difference(
        "sticky-lock-error", "attach() after opening the lock failed once",
        "the same error for ever", "each request opens what it needs",
        "a new Qt object with the same key takes the place of the old", "Qt looks at the key only"),
    Difference(
        "huge-file-stays", "create() of a POSIX segment larger than the address space",
        "fails and leaves the file", "leaves nothing", "the file is unlinked for Qt",
        "Qt unmaps nothing and unlinks nothing when mapping fails"),
    Difference(
        "failed-create-leaves-its-lock", "create() with an invalid size",
        "leaves semaphore and key file until the object goes", "leaves nothing",
        "only ours is looked at", "Qt makes the lock before it looks at the size"),
    Difference(
        "orphan-destroyed-on-the-way",
        "create() or attach() by an object that used the key before, and a System V segment "
        "nobody is attached to",
        "destroys the segment first: create() makes a new one, attach() finds none",
        "create: already-exists; attach: attached", "the model knows both",
        "Qt forgets its previous handle first"),
    Difference(
        "dead-holder-keeps-a-posix-lock", "kill -9 of a holder, and others have the semaphore open",
        "every call blocks for ever",
        "423 until the lock is broken by force; by itself once nobody has it open",
        "not called on Qt; Qt processes that can never go on are killed",
        "a POSIX semaphore knows no holder"),
    Difference(
        "kill-leaves", "kill -9 of a Qt process",
        "leaves semaphores, key files and memory", "takes over what is there",
        "what is left is removed at the end, if no session was last after it", "no destructor ran"),
    Difference(
        "lock-of-ours-stays", "a session made the lock, and Qt detaches last",
        "destroys the segment only, for the lock's maker is to remove the lock",
        "removes both when it is last", "what is left is removed at the end",
        "Qt objects remove what they made, and none made this"),
    # What differs by design.
    Difference(
        "would-block", "detach, lock or a change under a lock that somebody else holds",
        "waits without limit", "423 at once with wait_ms=0, and nothing has changed",
        "not called on Qt", "no request waits longer than it wants to"),
    Difference(
        "attach-waits-for-the-lock", "attach() under a lock that somebody else holds",
        "waits for the lock", "attaches after a moment",
        "two worlds: Qt's holder unlocks for the time of the call; mixed: not called on Qt",
        "a holder that never comes back keeps nobody out"),
    Difference(
        "size-limit", "create() with a size above the server's limit",
        "asks the kernel: already-exists or out of resources", "invalid-size before all else",
        "both answers are expected", "the server bounds what a client may ask for"),
    Difference(
        "access-outside", "access to bytes outside, or writing what is attached read-only",
        "undefined, or death by SIGSEGV", "416 or 403", "not done in Qt",
        "Qt hands out the memory itself"),
]}


class Ledger:
    """Counts which differences were met."""

    def __init__(self):
        self.counts = collections.Counter()
        self.sequences = collections.Counter()
        self.steps = 0

    def use(self, name):
        assert name in DIFFERENCES, name
        self.counts[name] += 1

    def __str__(self):
        lines = [f"{dict(self.sequences)} sequences, {self.steps} steps; differences met:"]
        for name in DIFFERENCES:
            lines.append(f"{self.counts[name]:9} {name}" + (
                "" if self.counts[name] else "  (NOT USED)"))
        return "\n".join(lines)


LEDGER = Ledger()


class Mismatch(AssertionError):
    """The two sides do not agree."""


def require(condition, *what):
    if not condition:
        raise Mismatch(" ".join(str(part) for part in what))


KINDS = list(kernel.MAKERS)
MODES = ["rw", "rw", "ro"]
HUGE = 1 << 47
HTTP_MODES = {"rw": "read_write", "ro": "read_only"}


def choose_size(random):
    return random.choice([0, -1, HUGE] + [random.randint(1, 200)] * 8 + [4096, 5000] * 2)


def choose_bytes(random):
    return [random.randint(0, 255)] * random.randint(1, 24)


def choose_arguments(random, call):
    """The arguments of a call; they mean something in any state."""
    if call == "create":
        return [choose_size(random), random.choice(MODES)]
    if call == "attach":
        return [random.choice(MODES)]
    if call in ("read", "peek"):
        return [random.choice([0, 0, random.randint(0, 250)]), random.randint(1, 60),
                random.random() < 0.4]
    if call in ("write", "poke"):
        return [random.choice([0, 0, random.randint(0, 250)]), choose_bytes(random),
                random.random() < 0.4]
    return []


def shorten(steps, fails, deadline=20.0):
    """Drop steps for as long as the sequence still fails."""
    end = time.monotonic() + deadline
    size = max(1, len(steps) // 2)
    while True:
        position, dropped = 0, False
        while position < len(steps):
            if time.monotonic() > end:
                return steps
            fewer = steps[:position] + steps[position + size:]
            if fewer and fails(fewer):
                steps, dropped = fewer, True
            else:
                position += size
        if size == 1 and not dropped:
            return steps
        size = max(1, size // 2)


def check_sequences(world, *, rounds, length):
    """Run sequences until they are through, or one fails: then show a short one that does."""
    replay = json.loads(os.environ.get("SEGMENTD_DIFFERENTIAL_REPLAY", "null"))
    if replay is not None:
        if replay["world"] == world.kind:
            world.run(replay["kinds"], replay["steps"])
        return
    seed = os.environ.get("SEGMENTD_DIFFERENTIAL_SEED", "1")
    rounds = int(os.environ.get("SEGMENTD_DIFFERENTIAL_ROUNDS", rounds))
    for number in range(rounds):
        source = random.Random(f"{world.kind} {seed} {number}")
        kinds = source.choices(KINDS, k=2)
        weights = choose_weights(source, world.weights)
        steps = [choose_step(source, world, weights) for _ in range(length)]
        try:
            world.run(kinds, steps)
        except AssertionError as problem:
            raise AssertionError(report(world, seed, number, kinds, steps, problem)) from problem
        LEDGER.sequences[world.kind] += 1


def choose_weights(random, weights):
    """How often each call is made: now and then a few calls far more often than the others."""
    if random.random() < 0.7:
        return weights
    favourites = random.sample(list(weights), 5)
    return {call: weight * (4 if call in favourites else 1) for call, weight in weights.items()}


def choose_step(random, world, weights):
    """One step: [name of the call, object, key, spelling, arguments...]."""
    call = random.choices(list(weights), list(weights.values()))[0]
    return [call, random.choice(world.objects_by_number), random.randint(0, 1),
            random.randint(0, 11), *choose_arguments(random, call)]


def report(world, seed, number, kinds, steps, problem):
    last = [problem]

    def fails(fewer):
        try:
            world.run(kinds, fewer)
        except AssertionError as again:
            last[0] = again
            return True
        return False

    kept = shorten(steps, fails) if fails(steps) else steps
    replay = json.dumps({"world": world.kind, "kinds": kinds, "steps": kept})
    trace = "\n".join(getattr(last[0], "trace", []))
    return (f"seed {seed}, sequence {number}, {len(steps)} steps: {problem}\n"
            f"{len(kept)} of them are enough: {last[0]}\n{trace}\n"
            f"SEGMENTD_DIFFERENTIAL_REPLAY='{replay}'")
