#ifndef COPENAPI_H
#define COPENAPI_H

#include <stddef.h>

/// The text of openapi.yaml at the top of the project, as it was when this was built.
const unsigned char *copenapi_document(void);

/// How many bytes it has.
size_t copenapi_document_size(void);

#endif
