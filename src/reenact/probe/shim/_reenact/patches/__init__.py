"""One module for each framework; each says below which modules it waits for.

A module of this package has a function `after_<trigger with dots as underscores>(module)` for each
of its triggers. It is called once, right after that module has been executed. What it raises is
recorded and means "not captured"; the script does not notice.
"""

TRIGGERS = {
    "sklearn.base": "sklearn",
    "sklearn.metrics": "sklearn",
    "sklearn.model_selection": "sklearn",
    "matplotlib.figure": "matplotlib",
    "matplotlib.pyplot": "matplotlib",
    "keras": "keras",
    "keras.src.callbacks.callback_list": "keras",
    "keras.src.models.model": "keras",
    "keras.src.saving.saving_api": "keras",
    "xgboost": "xgboost",
    "xgboost.callback": "xgboost",
    "xgboost.core": "xgboost",
    "xgboost.training": "xgboost",
    "lightgbm": "lightgbm",
    "lightgbm.basic": "lightgbm",
    "lightgbm.engine": "lightgbm",
    "wandb": "wandb",
    "wandb.sdk.wandb_login": "wandb",
    "wandb.sdk.wandb_init": "wandb",
    "wandb.sdk.wandb_config": "wandb",
    "wandb.sdk.wandb_summary": "wandb",
    "wandb.sdk.wandb_run": "wandb",
    "wandb.sdk.lib.disabled": "wandb",
    "wandb.sdk.lib.noop_run": "wandb",
    "wandb.sdk.data_types.base_types.media": "wandb",
    "wandb.sdk.artifacts.artifact": "wandb",
    "mlflow": "mlflow",
    "mlflow.tracking._tracking_service.client": "mlflow",
    "trackio": "trackio",
    "trackio.run": "trackio",
    "aim": "aim",
    "aim.sdk.run": "aim",
    "neptune": "neptune",
    "neptune.handler": "neptune",
    "neptune.metadata_containers.run": "neptune",
    "comet_ml": "comet",
    "comet_ml._online": "comet",
    "comet_ml.comet_start.comet_start": "comet",
    "comet_ml.experiment": "comet",
    "torch": "torch",
    "torch.nn.modules.module": "torch",
    "torch.optim.lr_scheduler": "torch",
    "torch.optim.optimizer": "torch",
    "torch.serialization": "torch",
    "torch.utils.data.dataloader": "torch",
    "safetensors.torch": "torch",
    "lightning.pytorch.trainer.connectors.logger_connector.logger_connector": "lightning",
    "lightning.pytorch.trainer.trainer": "lightning",
    "pytorch_lightning.trainer.connectors.logger_connector.logger_connector": "lightning",
    "pytorch_lightning.trainer.trainer": "lightning",
    "transformers.trainer": "transformers",
    "transformers.trainer_callback": "transformers",
    "torch.utils.tensorboard.writer": "tensorboard",
    "tensorboardX.writer": "tensorboard",
    "optuna": "optuna",
    "optuna.study._tell": "optuna",
    "optuna.study.study": "optuna",
    "pyarrow.parquet.core": "readers",
    "pyarrow.csv": "readers",
    "pyarrow.dataset": "readers",
    "pyarrow.feather": "readers",
    "polars": "readers",
    "duckdb": "readers",
    "h5py._hl.files": "readers",
    "tables.file": "readers",
    "cv2": "readers",
    "safetensors.numpy": "readers",
    "soundfile": "readers",
    "lightgbm.callback": "readers",
}
"""Module that is imported -> module of this package."""


def check_names(names):
    """Say which words of `REENACT_AUTOLOG` are the name of nothing; a run's record says it once."""
    known = sorted(set(TRIGGERS.values()))
    unknown = [name for name in names if name and name != "off" and name not in known]
    if unknown:
        from _reenact import journal

        said = ", ".join("`%s`" % name[:100] for name in unknown[:20])
        text = "REENACT_AUTOLOG names %s: known are off, %s"
        journal.remark("autolog", text % (said, ", ".join(known)))


def apply(patch, trigger, module):
    """Let the module `patch` work on `module`, which has just been imported as `trigger`."""
    # `__import__` with a list of names returns the submodule; importlib is not loaded for it.
    known = __import__("_reenact.patches." + patch, None, None, ["*"])
    try:
        getattr(known, "after_" + trigger.replace(".", "_"))(module)
    except Exception as error:
        # Another version than those that the module was written for.
        from _reenact import journal

        name = getattr(known, "_ORIGIN", None) or trigger.partition(".")[0]
        detail = "%s: %s: %s" % (trigger, type(error).__name__, error)
        journal.framework(name, None, "not captured", detail[:300])
        raise
