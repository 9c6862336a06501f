{"job":{"a":{"group":{"g":{"network":{"port":{"h":{},"i":{}}},"task":{"t":{"config":{"labels":{"a":"b"}}},"u":{"config":{"l":{"m":{"n":1}}}}}}}}}}
