"""Waiting for a condition, with a deadline; nothing here hopes that a sleep is long enough."""
import time


def wait_until(condition, deadline=5.0, what="the condition"):
    """Return the first true value of condition(), or fail after so many seconds."""
    end = time.monotonic() + deadline
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come true within {deadline} s")
        time.sleep(0.005)


def stays(condition, seconds):
    """Whether the condition holds all the time for so many seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not condition():
            return False
        time.sleep(0.01)
    return True
