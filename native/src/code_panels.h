// Panels of weights whose codes lie beside their scales: i4 and blocks (lichen/linear.h).
#pragma once

#include <string>

#include "lichen/linear.h"

namespace lichen {

// Throws std::invalid_argument for a weight of codes that cannot be cut as it asks; `shape` names it.
void check_code_panels(const Weight& weight, const std::string& shape);

// Sets what `linear` says about groups and scales, and the bytes of its panels.
void lay_out_code_panels(Linear& linear, const Weight& weight);

// Rows [row, row + rows), whose data begins at `from`, into one zeroed panel; false where a code or a zero point is
// out of range.
bool pack_code_panel(const Linear& linear, const Weight& weight, const void* from, std::int64_t row,
                     std::int64_t rows, char* panel);

// One lane of a panel as the floats that it stands for.
void unpack_code_row(const Linear& linear, const char* panel, std::int64_t lane, float* out);

}  // namespace lichen
