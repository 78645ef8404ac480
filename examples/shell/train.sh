#!/bin/sh
# Straight line through two columns of wine.csv by gradient descent. Usage: train.sh EPOCHS
# FLAG_X and FLAG_Y name the columns, FLAG_LR is the learning rate.
set -eu

epochs=${1:-20}
x=${FLAG_X:-flavanoids}
y=${FLAG_Y:-od280}

awk -F, -v x="$x" -v y="$y" -v lr="${FLAG_LR:-0.2}" -v epochs="$epochs" '
    NR == 1 {
        for (i = 1; i <= NF; i++) column[$i] = i
        if (!(x in column) || !(y in column)) {
            print "no column " x " or " y > "/dev/stderr"
            failed = 1
            exit 1
        }
        next
    }
    { n++; xs[n] = $column[x]; ys[n] = $column[y]; mean_x += $column[x]; mean_y += $column[y] }
    END {
        if (failed) exit 1
        mean_x /= n; mean_y /= n
        for (i = 1; i <= n; i++) {
            var_x += (xs[i] - mean_x) ^ 2 / n
            var_y += (ys[i] - mean_y) ^ 2 / n
        }
        for (epoch = 1; epoch <= epochs; epoch++) {
            loss = 0; grad_a = 0; grad_b = 0
            for (i = 1; i <= n; i++) {
                z = (xs[i] - mean_x) / sqrt(var_x)
                error = a * z + b - ys[i]
                loss += error ^ 2 / n
                grad_a += 2 * error * z / n
                grad_b += 2 * error / n
            }
            a -= lr * grad_a
            b -= lr * grad_b
            printf "epoch %d loss: %.6f\n", epoch, loss
        }
        printf "r2: %.6f\n", 1 - loss / var_y
        slope = a / sqrt(var_x)
        printf "slope %.6f\nintercept %.6f\n", slope, b - slope * mean_x > "line.txt"
    }
' wine.csv
