"""The package, and the proof that it works.

Needs the export, the vocabulary, the test metrics and what the shop knows of its items; gives the MLflow model folder, its parity with the fitted model, and the
result of real requests to a real server.
"""


rule package_champion:
    input:
        model="results/champion/model",
        export="results/champion/export",
        vocabulary="results/fit/final/items.parquet",
        test="results/fit/final/test.parquet",
        metrics="results/champion/metrics.json",
        properties=item_data("properties"),
    output:
        package=directory("results/champion/package"),
        parity="results/champion/parity.json",
    log:
        "results/logs/package.log",
    benchmark:
        "results/benchmarks/package.jsonl"
    conda:
        "../envs/package_champion.yaml"
    threads: 4
    params:
        settings=settings(
            shop=CONFIGURATION.shop,
            evaluation=SECTIONS["evaluation"],
            serve=package_serve_settings(),
            split_settings_hash=split_settings_hash(),
        ),
        properties=options("--properties", "properties"),
        code=code_digest("package", FAMILIES),
    shell:
        "recsys package --model {input.model:q} --export {input.export:q} --items {input.vocabulary:q} --test {input.test:q}"
        " --metrics {input.metrics:q} --package {output.package:q} --parity {output.parity:q} {params.properties}"
        " --settings {params.settings:q} > {log:q} 2>&1"


rule smoke_package:
    input:
        package="results/champion/package",
        vocabulary="results/fit/final/items.parquet",
        test="results/fit/final/test.parquet",
    output:
        smoke="results/champion/smoke.json",
    log:
        "results/logs/smoke.log",
    benchmark:
        "results/benchmarks/smoke.jsonl"
    conda:
        "../envs/smoke_package.yaml"
    params:
        settings=settings(
            serve=package_serve_settings("max_body_bytes", "max_sessions")
        ),
        code=code_digest("smoke", FAMILIES),
    shell:
        "recsys smoke --package {input.package:q} --test {input.test:q} --items {input.vocabulary:q} --output {output.smoke:q}"
        " --settings {params.settings:q} > {log:q} 2>&1"
