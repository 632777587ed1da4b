"""Make ``kafka.lock.json`` anew: ``python -m streams.sandbox.relock``, after changing a version here.

Commit what it writes. Nobody's sandbox runs a file that is not in it.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict
from pathlib import Path

from streams.sandbox.install import maven
from streams.sandbox.lock import LOCK_FILE, Jar, Lock, sha256_of

KAFKA = "4.3.1"
ROOTS = (
    f"org.apache.kafka:kafka_2.13:{KAFKA}",
    # Kafka brings slf4j-api 1.7.36 and no binding, so it would log nothing. The binding's version
    # must be the API's: 2.x finds its binding in another way.
    "org.slf4j:slf4j-simple:1.7.36",
)


def resolve() -> Lock:
    """Ask Maven Central what :data:`ROOTS` need, download all of it, and take down what came."""
    with maven() as jgo, tempfile.TemporaryDirectory() as folder:
        context = jgo.MavenContext(repo_cache=Path(folder))
        wanted = [context.create_dependency(root) for root in ROOTS]
        inputs, transitive = context.resolver.resolve(wanted)
        jars = []
        for artifact in (dependency.artifact for dependency in [*inputs, *transitive]):
            path = artifact.resolve()
            coordinates = f"{artifact.groupId}:{artifact.artifactId}:{artifact.version}"
            jars.append(Jar(coordinates, path.stat().st_size, sha256_of(path)))
    return Lock(kafka=KAFKA, jars=tuple(jars))


if __name__ == "__main__":
    LOCK_FILE.write_text(json.dumps(asdict(resolve()), indent=2) + "\n", encoding="utf-8")
