"""Event files of TensorBoard that have each step once, whenever a run was killed."""

import pathlib
import socket
import struct
import time
from collections.abc import Iterator, Mapping

import tensorboardX.summary
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.record_writer import masked_crc32c

from mmcot_jax import files

PATTERN = "events.out.tfevents.*"
"""Names of event files."""


class EventFile:
    """A new event file in a folder; a killed process loses nothing that was written.

    `tensorboardX.SummaryWriter` hands events to a thread that writes them up to two minutes later,
    and that ends without a word when the disk is full. What a power cut takes, `resume` adds again.
    """

    def __init__(self, folder: pathlib.Path):
        files.make_folder(folder)
        now = time.time_ns()
        name = f"events.out.tfevents.{now // 10**9}.{socket.gethostname()}.{now}"
        self._path = folder / name
        self._file = self._path.open("xb")
        self._add(Event(file_version="brain.Event:2"))

    def write(self, *steps: tuple[int, Mapping[str, float]]) -> None:
        """Writes the metrics of steps."""
        for step, metrics in steps:
            summary = Summary(value=list(_values(metrics).values()))
            self._add(Event(step=step, summary=summary))

    def _add(self, event: Event) -> None:
        event.wall_time = time.time()
        data = event.SerializeToString()
        length = struct.pack("<Q", len(data))
        checksums = [struct.pack("<I", masked_crc32c(part)) for part in (length, data)]
        with files.naming(self._path):
            self._file.write(length + checksums[0] + data + checksums[1])
            self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        with files.naming(self._path):
            self._file.close()


def _values(metrics: Mapping[str, float]) -> dict[str, Summary.Value]:
    """Returns metrics by TensorBoard's tags, in which some characters are replaced by `_`."""
    each = (tensorboardX.summary.scalar(*item).value[0] for item in metrics.items())
    return {value.tag: value for value in each}


def resume(
    folder: pathlib.Path, start: int, logged: Mapping[int, Mapping[str, float]] | None
) -> EventFile:
    """Opens a folder of event files to go on from step `start`.

    `logged` are the metrics of the steps before it: others are removed from the files, missing ones
    are added. If it is None, whatever is there before `start` stays.
    """
    missing = {step: _values(metrics) for step, metrics in (logged or {}).items()}
    for path in sorted(folder.glob(PATTERN)):
        kept, whole = [], path.stat().st_size
        for record, event in read(path):
            tags = {value.tag for value in event.summary.value}
            if logged is None:
                wanted = event.step < start
            else:
                wanted = tags <= missing.get(event.step, {}).keys()
            if wanted:
                kept.append(record)
                for tag in tags & missing.get(event.step, {}).keys():
                    del missing[event.step][tag]
        if len(kept) < 2:  # the first record is the format's version
            path.unlink()
        elif sum(map(len, kept)) < whole:
            with files.atomic(path) as file:
                file.writelines(kept)
    writer = EventFile(folder)
    lacking = {step: {tag: v.simple_value for tag, v in m.items()} for step, m in missing.items()}
    writer.write(*((step, metrics) for step, metrics in lacking.items() if metrics))
    return writer


def read(path: pathlib.Path) -> Iterator[tuple[bytes, Event]]:
    """Yields the records of an event file, raw and parsed, up to the first that is not whole."""
    content, start = path.read_bytes(), 0
    while len(content) >= start + 12:
        # 8 bytes of length, 4 of its checksum, the event, 4 of its checksum
        (size,) = struct.unpack_from("<Q", content, start)
        record = content[start : start + size + 16]
        start += size + 16
        event = record[12:-4]
        if start > len(content) or masked_crc32c(event) != struct.unpack("<I", record[-4:])[0]:
            return
        yield record, Event.FromString(event)
