"""The names of everything that a run leaves in its output directory.

output/
  config.yaml       what was asked for
  run.json          what is done (`RunState`)
  summary.json      the figures, for scripts
  mlflow.db         the tracked run, unless `tracking.uri` names another place
  logs/             what Ray's C++ side wrote to stderr
  raw/              the synthetic recordings, where there were none
  store/            the clip store, unless `data.store` names another place
  checkpoints/      attempts, and the checkpoints of each
  metrics.jsonl     one row a logged step of training
  encoder/          the encoder after training
  random/           the encoder before training
  evaluation.json   the curves of the linear probe
  features/         the features of both encoders
  figures/          the pictures of the report
  report.html       the report
  card/             the data card
  records.jsonl     what the cells of a table measured
  ablation.md       the table
  ablation.png      its plot
  ablation.html     both as a page
"""

CONFIG = "config.yaml"
STATE = "run.json"
SUMMARY = "summary.json"
LOGS = "logs"
RAW = "raw"
CHECKPOINTS = "checkpoints"
METRICS = "metrics.jsonl"
ENCODER = "encoder"
RANDOM_ENCODER = "random"
EVALUATION = "evaluation.json"
FEATURES = "features"
FIGURES = "figures"
REPORT = "report.html"
CARD = "card"
RECORDS = "records.jsonl"
ABLATION = "ablation.md"
ABLATION_PLOT = "ablation.png"
ABLATION_PAGE = "ablation.html"
