"""Agents: the program that runs the shell agent's blocks. It runs in the sandbox, as `python3 -I -S -c SOURCE`, where
this package is not installed.

Its input is one JSON object, `{"key": …, "most": …, "blocks": [["bash", "-c", …], …]}`; its output is one line for each
thing that happened: a keyed digest, a space, and a JSON object. `n` counts the lines; `begin`, `out` and `end` hold the
number of a block. What the blocks print reaches the output in such lines only. After SIGTERM, which all processes of
the sandbox get, it passes on what the block still prints, and no `end`: the block was cut.

The blocks run as the same user, and may reach the pipe that the output goes to. They can't write a line with a valid
digest: the kernel shows no other process the memory and the descriptors of this one, and its input, which had the key,
is empty before the first block starts. (A process with CAP_SYS_PTRACE could; a sandbox has no such process.)
"""

import ctypes
import json
import os
import select
import signal
import stat
import sys

try:
    from _blake2 import blake2b  # hashlib loads OpenSSL too: time that each run would take
except ImportError:
    from hashlib import blake2b

PR_SET_DUMPABLE = 4  # linux/prctl.h
BLOCK = 1 << 16
LATE = 1 << 24  # bytes of output that are read after a block has ended
TAIL = 1 << 14  # bytes at the end of an output that is too long: an error stands there
IGNORED = [signal.SIGPIPE, signal.SIGXFSZ]  # by Python; its children die of them as usual


class Output:
    """Writes the lines."""

    def __init__(self, key: str):
        self.key = bytes.fromhex(key)
        self.number = 0

    def say(self, **said: object) -> None:
        self.number += 1
        text = json.dumps(dict(said, n=self.number), ensure_ascii=False).encode()
        line = blake2b(text, key=self.key, digest_size=16).hexdigest().encode() + b" " + text + b"\n"
        while line:
            line = line[os.write(1, line) :]


class Block:
    """A block that was started; what it left running may write on after its end."""

    def __init__(self, number: int, argv: "list[str]", most: int, output: Output):
        self.number, self.output, self.left, self.held, self.tail = number, output, most, b"", b""
        self.pipe, end = os.pipe()
        os.set_blocking(self.pipe, False)
        self.process = 0
        self.code = None  # type: int | None
        files = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, end, 1),
            (os.POSIX_SPAWN_DUP2, end, 2),
        ]
        try:  # `subprocess` would take longer to load than most blocks to run
            self.process = os.posix_spawnp(argv[0], argv, os.environ, file_actions=files, setsigdef=IGNORED)
        except (OSError, ValueError) as error:
            self.code = 127
            self.take(f"{argv[0]}: {error}\n".encode(errors="replace"))
        os.close(end)

    def take(self, data: bytes) -> None:
        """Passes whole lines on: a value that is to be redacted is not cut in two. What is too much is counted."""
        kept, more = data[: self.left], data[self.left :]
        self.left -= len(kept)
        self.tail = (self.tail + more)[-TAIL:]
        lines, end, self.held = (self.held + kept).rpartition(b"\n") if self.left else (self.held + kept, b"", b"")
        if lines or end or more:
            self.output.say(out=self.number, text=(lines + end).decode("utf-8", "replace"), more=len(more))

    def rest(self) -> "dict[str, str]":
        """What was not passed on yet; the tail in whole lines, see `take`."""
        text, self.held = self.held, b""
        tail = self.tail.partition(b"\n")[2] or self.tail
        return {"text": text.decode("utf-8", "replace"), "tail": tail.decode("utf-8", "replace")}

    def read(self) -> bool:
        """Passes on what is there to read; false at the end of the output."""
        try:
            data = os.read(self.pipe, BLOCK)
        except BlockingIOError:
            return True
        if data:
            self.take(data)
        return bool(data)

    def ended(self) -> bool:
        if self.code is None:
            ended, status = os.waitpid(self.process, os.WNOHANG)
            if ended:
                self.code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)
        return self.code is not None


def hide() -> None:
    """Keeps the other processes of this user out of this one. Raises OSError when that does not work."""
    if stat.S_ISREG(os.fstat(0).st_mode):  # another process, as bwrap or timeout, may hold it open
        os.truncate("/proc/self/fd/0" if sys.platform == "linux" else 0, 0)
    if sys.platform == "linux" and ctypes.CDLL(None, use_errno=True).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "this process can't be protected")


class Pipes:
    """The signals of this process, and the blocks whose output has not come to its end."""

    def __init__(self, alarm: int):
        self.alarm, self.writers = alarm, {}  # type: int, dict[int, Block]
        self.poll = select.poll()  # `select` refuses descriptors from 1024 on
        self.poll.register(alarm, select.POLLIN)

    def add(self, block: Block) -> None:
        self.writers[block.pipe] = block
        self.poll.register(block.pipe, select.POLLIN)

    def ready(self, wait_ms: "int | None" = None) -> "list[int]":
        return [pipe for pipe, _ in self.poll.poll(wait_ms)]

    def read(self, pipe: int) -> None:
        if not self.writers[pipe].read():
            self.poll.unregister(pipe)
            del self.writers[pipe]
            os.close(pipe)


def run(block: Block, pipes: Pipes) -> "int | None":
    """Waits for the block's end; meanwhile what blocks before it left running can write. Returns the exit code; `None`
    when the block was cut."""
    cut = False
    pipes.add(block)
    while not block.ended():
        for pipe in pipes.ready():
            if pipe == pipes.alarm:
                cut = signal.SIGTERM in os.read(pipe, BLOCK) or cut
                if cut:
                    block.output.say(out=block.number, text=block.rest()["text"])  # before SIGKILL comes
            else:
                pipes.read(pipe)
    for _ in range(LATE // BLOCK):  # what it wrote before its end
        if block.pipe not in pipes.ready(0):
            break
        pipes.read(block.pipe)
    return None if cut else block.code or 0


def main() -> int:
    orders = json.loads(sys.stdin.buffer.read())
    hide()
    os.environ.pop("PYTHONCOERCECLOCALE", None)  # see shell.py
    alarm, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    for caught in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(caught, lambda *_: None)
    output, pipes = Output(orders["key"]), Pipes(alarm)
    for number, argv in enumerate(orders["blocks"], 1):
        output.say(begin=number)
        block = Block(number, argv, orders["most"], output)
        code = run(block, pipes)
        if code is None:
            output.say(out=number, **block.rest())
            return 128 + signal.SIGTERM
        output.say(end=number, code=code, **block.rest())
        if code:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
