# The wheel is built in one image and installed in another: neither source nor build tools are shipped.
FROM python:3.13-slim AS wheel
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.13-slim
# What is installed besides the feed itself: alerts,metrics,inference or less.
ARG EXTRAS=alerts,metrics
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    pip install --no-cache-dir "$(echo /wheels/barfeed-*.whl)[${EXTRAS}]" \
    && useradd --system --uid 10001 --home-dir /data --shell /usr/sbin/nologin barfeed \
    && install --directory --owner=barfeed --group=barfeed /data
USER 10001:10001
WORKDIR /data
VOLUME /data
ENV BARFEED_DUCKDB=/data/ohlcv.duckdb \
    BARFEED_PERSIST_DIR=/data/feed \
    BARFEED_CATCH_UP=true \
    BARFEED_LISTEN=0.0.0.0:9464 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
EXPOSE 9464
STOPSIGNAL SIGTERM
# 200 only while the newest bar is where it should be; the first window needs a moment.
HEALTHCHECK --interval=60s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9464/healthz', timeout=4)"]
ENTRYPOINT ["barfeed"]
CMD ["run", "--watch"]
