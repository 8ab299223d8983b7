"""The work folders of trainings: the order, copies of examples, checkpoints, and the finished adapter. Blocking."""

import contextlib
import json
import shutil
import time
from collections.abc import Collection, Container
from dataclasses import asdict, dataclass
from pathlib import Path

from bot.errors import NotFound, TrainingRefused
from bot.model_install.adapter_folders import FOLDER as ADAPTERS
from bot.runtime.private_files import make_private_folder
from bot.usecases.training_folders import CORRECTIONS, EXAMPLES, disk_refusal
from bot.usecases.training_orders import TrainingOrder

WORK = "training"
"""The folder of trainings that run, in the data directory."""
STORED = ("media", "exports", WORK)
"""Folders of the data directory that nothing is learned from: only corrections are, with consent."""
ABANDONED_S = 14 * 86400.0
"""How long the checkpoints of a training that ended without an adapter wait for it to be started again."""
_ORDER_FILE, _OUTPUT, _REPLACED = "order.json", "output", "replaced"


@dataclass(frozen=True)
class TrainingWork:
    data_dir: Path

    def folder(self, name: str) -> Path:
        return self.data_dir / WORK / name

    def output(self, name: str) -> Path:
        """Where the adapter is written before its test decides."""
        return self.folder(name) / _OUTPUT

    def refuse_stored(self, order: TrainingOrder) -> None:
        """Raises: TrainingRefused: a folder has people's images, or copies of them."""
        stored = [(self.data_dir / name).resolve() for name in STORED]
        for folder in (order.folder, order.replay):
            if folder and any(Path(folder).resolve().is_relative_to(one) for one in stored):
                raise TrainingRefused("stored", folder=folder[:200])

    def save_order(self, name: str, order: TrainingOrder) -> None:
        """Raises: TrainingRefused: the disk is full or read-only."""
        try:
            make_private_folder(self.folder(name))
            (self.folder(name) / _ORDER_FILE).write_text(json.dumps(asdict(order)), encoding="utf-8")
        except OSError as error:
            raise disk_refusal(error, self.folder(name)) from error

    def list_orders(self) -> list[tuple[str, TrainingOrder]]:
        """Of trainings that were interrupted, by name."""
        orders = []
        for path in sorted((self.data_dir / WORK).glob(f"*/{_ORDER_FILE}")):
            with contextlib.suppress(OSError, ValueError, TypeError):
                orders.append((path.parent.name, TrainingOrder(**json.loads(path.read_text("utf-8")))))
        return orders

    def drop_order(self, name: str) -> None:
        """It is not resumed by itself; its checkpoint stays."""
        with contextlib.suppress(OSError):
            (self.folder(name) / _ORDER_FILE).unlink(missing_ok=True)

    def keep_output(self, name: str) -> None:
        """Move the adapter to the others, in place of one of the same name. Raises: TrainingRefused."""
        target = self.data_dir / ADAPTERS / name
        try:
            make_private_folder(target.parent)
            replaced = self.folder(name) / _REPLACED
            if target.is_dir():
                shutil.rmtree(replaced, ignore_errors=True)  # of an end that was interrupted
                target.rename(replaced)
            self.output(name).rename(target)
        except OSError as error:
            raise disk_refusal(error, target) from error

    def take_back(self, name: str) -> None:
        """Undo `keep_output`, as far as that is possible."""
        target = self.data_dir / ADAPTERS / name
        with contextlib.suppress(OSError):
            target.rename(self.output(name))
            (self.folder(name) / _REPLACED).rename(target)

    def read_sample(self, name: str, path: str) -> bytes:
        """`path`: relative to the adapter's folder. Raises: NotFound."""
        folder = (self.data_dir / ADAPTERS / name).resolve()
        try:
            if not (folder / path).resolve().is_relative_to(folder):
                raise NotFound("picture", name)
            return (folder / path).read_bytes()
        except OSError as error:
            raise NotFound("picture", name) from error

    def drop_words(self, name: str) -> None:
        """The report card in an adapter's folder keeps no examples: one of them was withdrawn."""
        path = self.data_dir / ADAPTERS / name / "report.json"
        with contextlib.suppress(OSError, ValueError):
            report = json.loads(path.read_text("utf-8"))
            path.write_text(json.dumps({**report, "examples": []}, indent=2) + "\n", encoding="utf-8")

    def has(self, name: str) -> bool:
        return self.folder(name).is_dir()

    def delete(self, name: str) -> None:
        shutil.rmtree(self.folder(name), ignore_errors=True)

    def delete_abandoned(self) -> None:
        """What trainings have left that ended without an adapter, and were not started again for `ABANDONED_S`."""
        resumed = {name for name, _ in self.list_orders()}
        for folder in (self.data_dir / WORK).glob("*"):
            with contextlib.suppress(OSError):
                changed = max(path.stat().st_mtime for path in (folder, *folder.iterdir()))
                if folder.name not in resumed and time.time() - changed > ABANDONED_S:
                    self.delete(folder.name)

    def delete_with(self, corrections: Collection[str], running: Container[str]) -> None:
        """What is left of trainings that have copies of these corrections, except of those that run; those that wait or
        will be resumed begin anew."""
        for listing in (self.data_dir / WORK).glob(f"*/{EXAMPLES}/{CORRECTIONS}"):
            name = listing.parent.parent.name
            with contextlib.suppress(OSError, ValueError):
                has_copies = set(json.loads(listing.read_text("utf-8")).values()) & set(corrections)
                if has_copies and name not in running:
                    self._delete_all_but_order(name)

    def _delete_all_but_order(self, name: str) -> None:
        order = self.folder(name) / _ORDER_FILE
        kept = order.read_bytes() if order.exists() else None
        self.delete(name)
        if kept is not None:
            make_private_folder(order.parent)
            order.write_bytes(kept)
