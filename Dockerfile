# The image for deployments that run in containers: recctl and the packages it needs, nothing else.
# No project, no data, no secrets: git_clone brings the first (prefect.yaml), DVC the second, the
# environment the third.
#   docker build -t registry.example.com/recommender:1 .
FROM python:3.11-slim

# Debian keeps one version of a package: pinning it would break the build at its next fix.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --no-install-recommends --yes git \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 recctl

ENV PIP_NO_CACHE_DIR=1 \
    PYTHONUNBUFFERED=1 \
    OMP_WAIT_POLICY=PASSIVE \
    GOMP_SPINCOUNT=5000 \
    DO_NOT_TRACK=true \
    MLFLOW_DISABLE_TELEMETRY=true \
    PREFECT_SERVER_ANALYTICS_ENABLED=false \
    GX_ANALYTICS_ENABLED=false \
    DVC_NO_ANALYTICS=true

# Runs clone the project below this folder.
WORKDIR /app
RUN chown recctl:recctl /app
# The packages first: a change of the code alone does not install them again.
COPY --chown=recctl:recctl pyproject.toml constraints.txt README.md LICENSE ./
COPY --chown=recctl:recctl src/recctl/__init__.py src/recctl/
RUN pip install --constraint constraints.txt --editable .
COPY --chown=recctl:recctl . .

USER 1000
# A process pool's worker in a container of its own; docker and kubernetes pools replace this.
CMD ["prefect", "worker", "start", "--pool", "recctl", "--type", "process"]
