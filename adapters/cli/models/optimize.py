"""`models optimize`: compiles a model, prints what was measured, and asks before it switches."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from adapters.cli.error_output import Failure
from adapters.cli.models.install import follow_status, format_size
from adapters.cli.models.model_client import Body, ModelClient, open_model_client
from adapters.cli.output import print_json, print_line, print_note, print_table, program_name
from adapters.cli.ports import CompositionRoot, LoadedConfig
from bot.models import TORCH


@dataclass(frozen=True, kw_only=True)
class OptimizeRequest:
    """`switch`: without asking, if it is better. Empty `weights` and `precision`: those of the model."""

    name: str
    backend: str = "openvino"
    weights: str = ""
    precision: str = ""
    switch: bool = False
    as_json: bool = False

    @property
    def options(self) -> str:
        """As they are typed, but for the name."""
        given = {"backend": self.backend, "weights": self.weights, "precision": self.precision}
        return "".join(f" --{name} {value}" for name, value in given.items() if value not in ("", "openvino"))

    @property
    def body(self) -> Body:
        names = ("backend", "weights", "precision", "switch")
        return {name: getattr(self, name) for name in names}


async def optimize_model(
    composition: CompositionRoot,
    loaded: LoadedConfig,
    request: OptimizeRequest,
    confirm: Callable[[str], bool] | None = None,
) -> int:
    """Compile and try, print the report, and switch if that is better and the owner says yes. Raises: EaselError."""
    async with open_model_client(composition, loaded) as client:
        status = await _optimize(client, request)
        if request.as_json:
            print_json(status)
            return 0
        if request.backend == TORCH:
            print_line(f"{status['title']} runs on torch.")
            return 0
        _print_report(status)
        built = status["optimization"]
        may_switch = built["report"]["is_better"] and not built["is_applied"]
        question = f"Run {status['title']} on {built['backend']} from now on?"
        if may_switch and confirm is not None and confirm(question):
            status = await _optimize(client, replace(request, switch=True))
        print_line(_describe_result(status, request, was_asked=confirm is not None))
    return 0


async def _optimize(client: ModelClient, request: OptimizeRequest) -> Body:
    status = await follow_status(client, await client.start_optimize(request.name, request.body))
    if status["error"]:
        raise Failure(status["error"], code="model_refused")
    built = status["optimization"]
    if request.backend != TORCH and (built is None or built["report"] is None):
        name, command = status["title"], f"`{program_name()} models optimize {status['name']}{request.options}`"
        raise Failure(
            f"Somebody else changed {name} meanwhile: {command} shows what was measured.", code="model_refused"
        )
    return status


def _print_report(status: Body) -> None:
    built = status["optimization"]
    report, backend = built["report"], built["backend"]
    rows = [_speed_cells(speed) for speed in report["speeds"]]
    print_table(("Rows", TORCH, backend, "Speed"), rows)
    print_note(describe_memory(report, backend))
    print_note(describe_levels(report))


def _speed_cells(speed: Body) -> Sequence[str]:
    return (
        str(speed["rows"]),
        f"{speed['torch_s']:.3f} s",
        f"{speed['backend_s']:.3f} s",
        f"{speed['gain']:.2f} times",
    )


def describe_memory(report: Body, backend: str) -> str:
    torch_size, backend_size, disk = (
        format_size(report[name] * 2**20) for name in ("torch_mb", "backend_mb", "disk_mb")
    )
    return f"Memory of the denoiser: {torch_size} on torch, {backend_size} on {backend}; {disk} on the disk."


def describe_levels(report: Body) -> str:
    return (
        f"Largest difference between the images of {report['prompts']} prompts ({report['steps']} steps): "
        f"{report['levels']} of 256 levels."
    )


def _describe_result(status: Body, request: OptimizeRequest, *, was_asked: bool) -> str:
    built, title, name = status["optimization"], status["title"], status["name"]
    report, backend = built["report"], built["backend"]
    if built["is_applied"]:
        back = f"`{program_name()} models optimize {name} --backend torch` goes back."
        return f"{title} runs on {backend}, {report['gain']:.1f} times as fast as on torch. {back}"
    if not report["is_better"]:
        return f"{title} stays on torch: {backend} is not better on this machine ({report['gain']:.1f} times as fast)."
    hint = "" if was_asked else f" `{program_name()} models optimize {name}{request.options} --yes` switches to it."
    return f"{title} stays on torch; {backend} is {report['gain']:.1f} times as fast here.{hint}"


async def delete_builds(composition: CompositionRoot, loaded: LoadedConfig, name: str, *, as_json: bool) -> int:
    async with open_model_client(composition, loaded) as client:
        freed = await client.remove_builds(name)
    if as_json:
        print_json({"name": name, "freed_bytes": freed})
    else:
        print_line(
            f"{name} runs on torch; deleted {format_size(freed)} that were compiled."
            if freed
            else f"{name} runs on torch; nothing was compiled for it."
        )
    return 0
