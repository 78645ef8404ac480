// Tell Iris virginica from Iris versicolor with logistic regression; needs nothing but Node.
// Usage: node train.js --lr 0.5 --epochs 100

const fs = require("fs");

function option(name, fallback) {
  const at = process.argv.indexOf("--" + name);
  return at < 0 ? fallback : Number(process.argv[at + 1]);
}

const lr = option("lr", 0.5);
const epochs = option("epochs", 100);

const rows = fs
  .readFileSync("iris.csv", "utf8")
  .trim()
  .split("\n")
  .slice(1)
  .map((line) => line.split(","))
  .filter((row) => row[4] !== "setosa");
const labels = rows.map((row) => (row[4] === "virginica" ? 1 : 0));
const columns = [0, 1, 2, 3].map((at) => {
  const values = rows.map((row) => Number(row[at]));
  const mean = values.reduce((sum, x) => sum + x, 0) / values.length;
  const spread = Math.sqrt(values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / values.length);
  return values.map((x) => (x - mean) / spread);
});
const flowers = rows.map((_, at) => [...columns.map((column) => column[at]), 1]);

const weights = new Array(5).fill(0);
const chance = (flower) =>
  1 / (1 + Math.exp(-flower.reduce((sum, x, at) => sum + x * weights[at], 0)));

for (let epoch = 1; epoch <= epochs; epoch++) {
  const gradient = new Array(5).fill(0);
  let loss = 0;
  flowers.forEach((flower, at) => {
    const p = chance(flower);
    loss -= Math.log(labels[at] ? p : 1 - p) / flowers.length;
    flower.forEach((x, i) => (gradient[i] += ((p - labels[at]) * x) / flowers.length));
  });
  gradient.forEach((slope, i) => (weights[i] -= lr * slope));
  if (epoch % 10 === 0 || epoch === epochs) {
    console.log(`epoch ${epoch} loss: ${loss}`);
  }
}

const hits = flowers.filter((flower, at) => (chance(flower) > 0.5 ? 1 : 0) === labels[at]).length;
console.log(`accuracy: ${hits / flowers.length}`);
fs.writeFileSync("model.json", JSON.stringify({ weights }) + "\n");
