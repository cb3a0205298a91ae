"""The form the champion is served from.

Needs the refitted champion; gives arrays and graphs (`session.onnx`, `step.onnx`) for neural families, the model's own files for the others.
"""


rule export_champion:
    input:
        model="results/champion/model",
    output:
        export=directory("results/champion/export"),
    log:
        "results/logs/export.log",
    benchmark:
        "results/benchmarks/export.jsonl"
    conda:
        "../envs/export_champion.yaml"
    params:
        settings=settings(
            evaluation=SECTIONS["evaluation"], serve=package_serve_settings()
        ),
        code=code_digest("export", FAMILIES),
    shell:
        "recsys export --model {input.model:q} --output {output.export:q} --settings {params.settings:q} > {log:q} 2>&1"
