# Weir with the reference flow: docker build -t weir . && docker run --rm -v weir-data:/data -p 3000:3000 weir

FROM debian:12 AS build
RUN apt-get update && apt-get install -y --no-install-recommends \
        gcc libc6-dev make pkg-config libyaml-dev libcurl4-openssl-dev libpcre2-dev libssl-dev
COPY . /src
WORKDIR /src
RUN make all install PREFIX=/usr/local DESTDIR=/image \
    && install -d /image/etc/weir/functions \
    && install -m 644 config/pipeline.yaml config/user.schema.json /image/etc/weir/ \
    && install -m 755 build/functions/process_user.so /image/etc/weir/functions/

FROM debian:12-slim
RUN apt-get update && apt-get install -y --no-install-recommends \
        ca-certificates libcurl4 libssl3 libpcre2-8-0 libyaml-0-2 tzdata \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin weir \
    && install -d -m 0700 -o weir -g weir /data
COPY --from=build /image/ /
ENV WEIR_DATA_DIR=/data WEIR_FUNCTIONS=/etc/weir/functions
USER 10001:10001
VOLUME /data
EXPOSE 3000
STOPSIGNAL SIGTERM
ENTRYPOINT ["weir"]
# Loopback cannot be reached from outside of a container, so the API is opened here, and the API alone.
# Functions in Python or Node need python3 or nodejs: add them in an image made from this one.
CMD ["run", "--log-format", "json", "--set", "sources.users_api.listen=0.0.0.0:3000", "/etc/weir/pipeline.yaml"]
