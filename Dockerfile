# The server as one binary on a small base image, without root.
#   docker build -t longwire .
#   docker run -p 9090:9090 -e LONGWIRE_API_KEY=… -v longwire:/var/lib/longwire longwire
FROM oven/bun:1.4.5-debian AS build
WORKDIR /build
COPY package.json bun.lock bunfig.toml ./
RUN bun install --frozen-lockfile
COPY tsconfig.json ./
COPY src ./src
COPY public ./public
COPY docs/protocol.md docs/openapi.json docs/asyncapi.json ./docs/
RUN bun run build

FROM debian:stable-slim
COPY --from=build /build/dist/longwire /usr/local/bin/longwire
# Topics survive the container if this is a volume. A named one takes its owner from here.
RUN install -d -m 0700 -o 65532 -g 65532 /var/lib/longwire
VOLUME /var/lib/longwire
# A number, because Kubernetes cannot tell from a name that the user is not root.
USER 65532:65532
# The port of a container can be reached from outside, so the server needs a key or LONGWIRE_INSECURE=1.
ENV LONGWIRE_HOST=0.0.0.0 LONGWIRE_PORT=9090 LONGWIRE_DATA=/var/lib/longwire
EXPOSE 9090
STOPSIGNAL SIGTERM
# The binary contains Bun, which makes the request. Replace this check if you use TLS or a socket file.
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s \
    CMD ["/usr/bin/env", "BUN_BE_BUN=1", "/usr/local/bin/longwire", "-e", "process.exit((await fetch(`http://127.0.0.1:${process.env.LONGWIRE_PORT}/healthz`)).ok ? 0 : 1)"]
ENTRYPOINT ["/usr/local/bin/longwire"]
