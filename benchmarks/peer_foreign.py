"""Other programs as servers behind a lock, each run by its own environment's Python: nothing of Easel is imported.

`PYTHON peer_foreign.py KIND FOLDER PORT THREADS`. They answer as the other peers do, without previews. Samplers are
their own: "euler" where they have it, otherwise the one they always use.
"""

import base64
import io
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class StableDiffusionCpp:
    def __init__(self, folder: str, threads: int) -> None:
        from stable_diffusion_cpp import StableDiffusion  # type: ignore[import-not-found]

        self._model = StableDiffusion(model_path=folder, n_threads=threads or -1, wtype="f32", verbose=False)

    def generate(self, request: "dict[str, Any]") -> Any:
        return self._model.generate_image(
            prompt=request["prompt"],
            cfg_scale=request["guidance"],
            sample_steps=request["steps"],
            sample_method="euler",
            width=request["width"],
            height=request["height"],
            seed=request["seed"],
        )[0]


class FastSdCpu:
    def __init__(self, folder: str, threads: int) -> None:
        import torch
        from fastsdcpu.models.lcmdiffusion_setting import (  # type: ignore[import-not-found]
            LCMDiffusionSetting,
        )
        from fastsdcpu.pipelines.lcm.text_to_image import (  # type: ignore[import-not-found]
            LCMTextToImage,
        )

        if threads:
            torch.set_num_threads(threads)
        self._settings = LCMDiffusionSetting(lcm_model_id=folder, use_offline_model=True, use_seed=True)
        self._model = LCMTextToImage("cpu")
        self._model.init("cpu", self._settings)
        self._model.pipeline.to(dtype=torch.float32)  # it mixes formats otherwise, and fails

    def generate(self, request: "dict[str, Any]") -> Any:
        settings = self._settings
        settings.prompt, settings.seed = request["prompt"], request["seed"]
        settings.guidance_scale, settings.inference_steps = request["guidance"], request["steps"]
        settings.image_width, settings.image_height = request["width"], request["height"]
        return self._model.generate(settings)[0]


KINDS: "dict[str, Any]" = {"stable-diffusion.cpp": StableDiffusionCpp, "fastsdcpu": FastSdCpu}


def make_handler(model: Any) -> Any:
    lock = threading.Lock()

    class PeerHandler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(b"ok")

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            out = io.BytesIO()
            with lock:
                model.generate(request).save(out, "PNG")
            self._answer(b"image " + base64.b64encode(out.getvalue()) + b"\n")

        def _answer(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    return PeerHandler


if __name__ == "__main__":
    kind, folder, port, threads = sys.argv[1:]
    server = ThreadingHTTPServer(("127.0.0.1", int(port)), make_handler(KINDS[kind](folder, int(threads))))
    server.serve_forever()
