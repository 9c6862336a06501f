{"job":[{"a":{"type":"batch","group":[{"g":{"task":[{"t":{"driver":"x","env":[{"A":true}]}}]}}]}}]}
