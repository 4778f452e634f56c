# syntax=docker/dockerfile:1
# Two stages: wheels are built and installed in the first, the second has no compiler and no pip cache.
FROM python:3.14-slim AS build
WORKDIR /src
RUN python -m venv /opt/actor-queue
COPY pyproject.toml requirements.lock requirements-dev.lock README.md LICENSE ./
# The locks pin what is installed. Of the extras the image has `edge`, whose packages only the second lock has.
RUN /opt/actor-queue/bin/pip install --no-cache-dir --disable-pip-version-check --constraint requirements.lock \
    anyio coredis h11 hiredis httpx hypercorn msgspec prometheus-client python-dotenv quart quart-trio redis rich trio typer
COPY actor_queue ./actor_queue
RUN /opt/actor-queue/bin/pip install --no-cache-dir --disable-pip-version-check \
    --constraint requirements-dev.lock '.[edge]'

FROM python:3.14-slim
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin actor-queue
COPY --from=build /opt/actor-queue /opt/actor-queue
ENV PATH=/opt/actor-queue/bin:$PATH PYTHONUNBUFFERED=1 PORT=8000
WORKDIR /srv
USER 10001
EXPOSE 8000
STOPSIGNAL SIGTERM
# Alive, not ready: an orchestrator must not kill a replica because Redis is away. It asks where the variables
# AQ_PROBE_BIND, AQ_BIND and PORT put the service, so where it listens is said with them here, and not with flags.
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 \
    CMD ["python", "-m", "actor_queue.app.alive"]
ENTRYPOINT ["actor-queue"]
CMD ["serve"]
