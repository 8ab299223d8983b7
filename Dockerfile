# The image contains the program, the starter models and torch; data and downloaded models are in volumes. See docs/running.md.
FROM python:3.12-slim

# cpu, or a CUDA build such as cu126: a GPU cannot be detected while the image is built.
ARG TORCH_BACKEND=cpu
# Optional libraries, such as openvino,gguf: docs/models.md, "Extras".
ARG EXTRAS=

RUN useradd --create-home --uid 10001 easel \
    && mkdir -p /opt/easel /data /models \
    && chmod 700 /data \
    && chown easel:easel /opt/easel /data /models
USER easel
WORKDIR /opt/easel
COPY --chown=easel:easel . .
# Bytecode is compiled here, not at the first start of each container.
RUN UV_TORCH_BACKEND=${TORCH_BACKEND} UV_NO_CACHE=1 UV_COMPILE_BYTECODE=1 python scripts/install.py
RUN test -z "${EXTRAS}" || UV_NO_CACHE=1 UV_COMPILE_BYTECODE=1 .venv/bin/uv pip install --editable ".[${EXTRAS}]"

ENV EASEL_DATA_DIR=/data HF_HOME=/models PATH=/opt/easel/.venv/bin:$PATH
VOLUME ["/data", "/models"]
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=5)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["easel"]
CMD ["serve"]
