# The full image has a C compiler, which faust-streaming needs where it has no wheel (64-bit ARM, for one).
FROM python:3.12-bookworm AS build
RUN python -m venv /opt/paystream
WORKDIR /source
COPY setup.cfg pyproject.toml README.md LICENSE ./
COPY models models
COPY agents agents
COPY streams streams
RUN /opt/paystream/bin/pip install --no-cache-dir --disable-pip-version-check '.[parquet]'

FROM python:3.12-slim-bookworm
COPY --from=build /opt/paystream /opt/paystream
ENV PATH=/opt/paystream/bin:$PATH \
    PYTHONUNBUFFERED=1
# A number, so that Kubernetes can see that it is not root.
# The folder is there so that a volume in its place is the worker's to write to.
RUN useradd --uid 10001 --create-home paystream && install --directory --owner paystream /home/paystream/platform
USER 10001
WORKDIR /home/paystream
ENTRYPOINT ["paystream"]
CMD ["worker", "--loglevel", "info"]
