FROM python:3.11-slim
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 KINGPOST_STATE_DIR=/state HF_HOME=/state/huggingface
WORKDIR /app
RUN useradd --create-home --uid 10001 kingpost && mkdir /state && chown kingpost /state
COPY constraints.txt pyproject.toml README.md LICENSE celeryconfig.py ./
COPY priority priority
COPY tasks tasks
COPY deployments deployments
COPY workers workers
COPY api api
COPY cli cli
COPY kingpost kingpost
# For GPUs, install a CUDA build of torch here instead of the pinned one.
RUN pip install -c constraints.txt torch && pip install -c constraints.txt '.[models]'
COPY models models
USER kingpost
VOLUME /state
ENTRYPOINT ["kingpost"]
CMD ["--help"]
