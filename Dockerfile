# The command line on a CPU, from the wheel of `make dist`:
#
#   make dist && docker build -t spikegpt-neuro .
#   docker run --rm --read-only --tmpfs /tmp -v "$PWD:/work" --user "$(id -u):$(id -g)" \
#     spikegpt-neuro convert model.pth --vocab vocab.json -o model.sgn
#
# EXTRAS: torch is for finetune and bench; reading .pth files needs none of it.
# A volume at /tmp/cache keeps the compiled kernels from one run to the next.
FROM python:3.11-slim

ARG EXTRAS=report,hub
COPY constraints.txt dist/*.whl /tmp/dist/
RUN set -eu; wheel="$(echo /tmp/dist/*.whl)"; \
    pip install --no-cache-dir --no-compile -c /tmp/dist/constraints.txt "$wheel[$EXTRAS]"; \
    rm -rf /tmp/dist; \
    useradd --uid 10001 --create-home spikegpt

ENV HOME=/tmp/home \
    HF_HOME=/tmp/cache/huggingface \
    NUMBA_CACHE_DIR=/tmp/cache/numba \
    PYTHONDONTWRITEBYTECODE=1

USER 10001
WORKDIR /work
ENTRYPOINT ["spikegpt-neuro"]
CMD ["--help"]
