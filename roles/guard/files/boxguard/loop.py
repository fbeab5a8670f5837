"""The guard as it runs: look, decide, act, remember, and again."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boxctl import files, processes
from boxctl.layout import Layout, boot_mark
from boxguard import look, push, tell
from boxguard import settings as guard_settings
from boxguard.decide import Act, Memory, Now, Orders, Step, answers_until, step, view
from boxguard.ending import Ending, powerless

if TYPE_CHECKING:
    from boxguard.judge import Seen

_PUSH_PATIENCE = 20.0


class Guard:
    """The guard whose things lie in `place` (`<root>/guard`): settings.json, push.json, control.json, state.json."""

    def __init__(self, place: Path) -> None:
        self.settings = guard_settings.read(place / "settings.json")
        self._place = place
        self._layout = Layout(place.parent)
        self._urls = _urls(place / "push.json")
        self._pushes: list[threading.Thread] = []
        self._said = ""
        self._full = False
        self._memory = _memory(place / "state.json")
        self._notes: dict[str, Any] = {}
        # Asked once: who may become root does not change while it runs, and `sudo` writes each question into a log.
        self._powerless = powerless(self.settings)

    def run(self) -> None:
        """Guard until the box is off."""
        _say(f"guarding `{self.settings.box or 'this box'}`")
        if self._powerless:
            _say(self._powerless)
        while True:
            done = self.tick()
            if stop := next((act for act in done.acts if act.kind == "stop"), None):
                self._stop(stop)
            self._wait(done)

    def tick(self) -> Step:
        """One look, with all that follows from it but powering off."""
        seen = look.look(self._layout, self.settings)
        done, orders = self._decide(seen)
        for act in done.acts:
            if act.kind != "stop":
                self._announce(act)
        shown = view(self.settings, orders, done, seen, time.time())
        self._remember(shown)
        self._answer(answers_until(self.settings, done, time.time()))
        words = ", ".join([*done.use.busy, *done.use.unknown]) or "nothing uses it"
        if words != self._said:
            _say(f"{shown['stage']}: {words}")
            self._said = words
        return done

    def _decide(self, seen: Seen, *, stopped: bool = False) -> tuple[Step, Orders]:
        now = time.time()
        orders = _orders(self._place / "control.json", self.settings.life)
        boot = Now(now, boot_mark(), now - _uptime())
        done = step(self.settings, orders, self._memory, seen, boot, stopped=stopped)
        self._memory = done.memory
        return done, orders

    def _stop(self, act: Act) -> None:
        """Power off, unless it turns out meanwhile that somebody wants it on."""
        name = self.settings.box or "this box"
        self._announce(Act("warn", act.reason, f"{name} powers off now: {act.words}"))
        ending = Ending(self.settings, self._layout.root, self._place, self._note)
        self._answer(time.time() + self.settings.before_stop_timeout + self.settings.stop_timeout + 900)
        wrong = ending.before_stop(act.words)
        for words in wrong:
            _say(words)
        self._notes["trouble"] = wrong
        if wrong:
            self._push(f"gpubox: {name}", "before it powered off: " + "; ".join(wrong))
        while self._still():
            self._note("power off")
            for thread in self._pushes:
                thread.join(_PUSH_PATIENCE)
            # Now the first guard may act, too, should ours come to nothing.
            self._answer(0)
            words = ending.power_off()
            self._notes["trouble"] = [*wrong, words]
            _say(words)
        self._notes.clear()
        ending.resume()
        self._announce(Act("called-off", act.reason, f"{name} stays on: somebody wants it"))

    def _still(self) -> bool:
        """Whether it is still time to power off, now that nothing of ours runs any more."""
        seen = look.look(self._layout, self.settings)
        done, orders = self._decide(seen, stopped=True)
        self._remember(view(self.settings, orders, done, seen, time.time()))
        return any(act.kind == "stop" for act in done.acts)

    def _announce(self, act: Act) -> None:
        _say(act.words)
        if act.kind in {"warn", "last-call", "called-off"}:
            tell.terminals(act.words, self.settings.ssh_server)
        if act.kind in {"warn", "job", "called-off"}:
            self._push(f"gpubox: {self.settings.box or 'a box'}", act.words)

    def _push(self, title: str, words: str) -> None:
        def send(url: str) -> None:
            try:
                push.push(url, title, words)
            except push.PushError as error:
                _say(f"push: {error}")

        self._pushes = [thread for thread in self._pushes if thread.is_alive()]
        for url in self._urls:
            thread = threading.Thread(target=send, args=(url,), daemon=True)
            thread.start()
            self._pushes.append(thread)

    def _note(self, words: str) -> None:
        """What is being done on the way to power off, for `boxctl guard`."""
        self._notes["doing"] = words
        state = files.read_json(self._place / "state.json") or {}
        self._remember({**state.get("view", {}), "stage": "stopping"})

    def _remember(self, shown: dict[str, Any]) -> None:
        assert self._memory is not None
        me = os.getpid()
        own = {"pid": me, "ticks": processes.ticks(me)}
        view = {"powerless": self._powerless, **shown, **self._notes}
        state = {"memory": self._memory._asdict(), "view": view, **own}
        try:
            files.write_json(self._place / "state.json", state)
            self._full = False
        except OSError as error:
            # It goes on guarding: a full disk shall not cost a month.
            if not self._full:
                _say(f"`{self._place}/state.json` cannot be written: {error.strerror}")
            self._full = True

    def _answer(self, until: float) -> None:
        """Tell the first guard until when it may leave the box to us; there is none where we may not write."""
        if not self.settings.marker:
            return
        marker = Path(self.settings.marker)
        try:
            marker.parent.mkdir(parents=True, exist_ok=True)
            files.write(marker, f"{int(until)}\n", mode=0o644)
        except OSError:
            return

    def _wait(self, done: Step) -> None:
        """Until it is time to look again: after the interval, when something is due, or when somebody gave an order."""
        now = time.time()
        events = [*done.fires.values(), *(limit.at - limit.notice for limit in done.deadlines)]
        until = min([now + self.settings.interval, *(event for event in events if event > now)])
        control = self._place / "control.json"
        before = _changed(control)
        while (left := until - time.time()) > 0 and _changed(control) == before:
            # A clock that was set back shall not stretch it.
            time.sleep(min(left, 0.5, self.settings.interval))
            if left > self.settings.interval + 1:
                return


def _urls(path: Path) -> list[str]:
    return [str(url) for url in (files.read_json(path) or {}).get("urls", [])]


def _memory(path: Path) -> Memory | None:
    data = (files.read_json(path) or {}).get("memory")
    try:
        return Memory(**data) if data else None
    except TypeError:
        _say(f"`{path}` is of another version: time and money are counted anew from the box's rental")
        return None


def _orders(path: Path, life: str) -> Orders:
    data = files.read_json(path) or {}
    if data.get("life") != life:
        return Orders()
    return Orders(**{name: data[name] for name in Orders._fields if name in data})


def _uptime() -> float:
    """Seconds since the box's first process began: the box may be a container of a machine that is older."""
    uptime = float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])
    return max(0.0, uptime - processes.ticks(1) / os.sysconf("SC_CLK_TCK"))


def _changed(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _say(words: str) -> None:
    sys.stdout.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {words}\n")
    sys.stdout.flush()
