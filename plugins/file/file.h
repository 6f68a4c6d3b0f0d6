/* file/file.h: the two components of the file plugin. */
#pragma once
#include <weir/pipeline.h>

extern const weir_component file_sink, file_source;

/* The path from the pipeline file's folder on, kept until stop; as it is where no host tells the folder. */
const char *file_place(const weir_host *h, const weir_services *pipeline, const char *path);
