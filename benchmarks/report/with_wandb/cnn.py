import keras
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import wandb

epochs = 3
batch_size = 64
lr = 0.0021

run = wandb.init(project="report", config={"epochs": epochs, "batch_size": batch_size, "lr": lr})
keras.utils.set_random_seed(7)
data = np.load("data/images.npz")
X_train, y_train = data["X_train"], data["y_train"]
X_test, y_test = data["X_test"], data["y_test"]

model = keras.Sequential(
    [
        keras.Input((28, 28, 1)),
        keras.layers.Conv2D(8, 3, activation="relu"),
        keras.layers.MaxPooling2D(),
        keras.layers.Conv2D(16, 3, activation="relu"),
        keras.layers.MaxPooling2D(),
        keras.layers.Flatten(),
        keras.layers.Dense(10, activation="softmax"),
    ]
)
model.compile(keras.optimizers.Adam(lr), "sparse_categorical_crossentropy", metrics=["accuracy"])
history = model.fit(
    X_train,
    y_train,
    batch_size,
    epochs,
    validation_data=(X_test, y_test),
    verbose=0,
    callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: run.log(logs))],
)
test_loss, test_accuracy = model.evaluate(X_test, y_test, verbose=0)
print(f"test_loss: {test_loss}")
print(f"test_accuracy: {test_accuracy}")

plt.plot(history.history["loss"])
plt.savefig("loss.png")
run.log({"test_loss": test_loss, "test_accuracy": test_accuracy})
run.log({"loss": wandb.Image("loss.png")})
run.finish()
