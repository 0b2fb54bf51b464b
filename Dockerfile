# Two stages: what builds stays behind. The layers follow how often they change: torch, what else is needed, the source.
FROM python:3.11-slim AS build
ENV PIP_NO_CACHE_DIR=1 PATH=/opt/kingpost/bin:$PATH
WORKDIR /app
RUN python -m venv /opt/kingpost
# Where torch comes from, such as https://download.pytorch.org/whl/cpu or .../cu128; empty = the package index.
ARG TORCH_INDEX=
COPY constraints.txt ./
RUN pip install ${TORCH_INDEX:+--index-url $TORCH_INDEX} -c constraints.txt torch
COPY pyproject.toml deploy/requirements.py ./
RUN python requirements.py models > requirements.txt && pip install -c constraints.txt -r requirements.txt
COPY README.md LICENSE celeryconfig.py ./
COPY priority priority
COPY tasks tasks
COPY deployments deployments
COPY workers workers
COPY api api
COPY cli cli
COPY kingpost kingpost
RUN pip install --no-deps .

FROM python:3.11-slim
ENV PYTHONUNBUFFERED=1 PATH=/opt/kingpost/bin:$PATH KINGPOST_STATE_DIR=/state HF_HOME=/state/huggingface
WORKDIR /app
RUN useradd --create-home --uid 10001 kingpost && mkdir /state && chown kingpost /state
COPY --from=build /opt/kingpost /opt/kingpost
COPY models models
USER kingpost
VOLUME /state
ENTRYPOINT ["kingpost"]
CMD ["--help"]
