# Predict a car's consumption from its weight with polynomials, in cross-validation; base R only.
# Usage: Rscript train.R --degree 2 --folds 8 --seed 1

arguments <- commandArgs(trailingOnly = TRUE)
value_of <- function(name, default) {
  at <- match(paste0("--", name), arguments)
  if (is.na(at)) default else as.numeric(arguments[at + 1])
}
degree <- value_of("degree", 1)
folds <- value_of("folds", 8)
seed <- value_of("seed", 1)

set.seed(seed)
fold_of <- sample(rep_len(seq_len(folds), nrow(mtcars)))
for (fold in seq_len(folds)) {
  model <- lm(mpg ~ poly(wt, degree), data = mtcars[fold_of != fold, ])
  held_out <- mtcars[fold_of == fold, ]
  error <- held_out$mpg - predict(model, held_out)
  cat(sprintf("step %d rmse: %.6f\n", fold, sqrt(mean(error^2))))
}

model <- lm(mpg ~ poly(wt, degree), data = mtcars)
cat(sprintf("r2: %.6f\n", summary(model)$r.squared))
cat(sprintf("aic: %.6f\n", AIC(model)))
write.csv(data.frame(car = rownames(mtcars), residual = residuals(model)),
          "residuals.csv", row.names = FALSE)
saveRDS(model, "model.rds")
