// Numbers of the trellis codes (lichen/trellis.h) that kernels of every instruction set share.
#pragma once

#include <stdint.h>

namespace lichen {

constexpr int64_t kTrellisGroup = 128;  // columns that share a unit
constexpr int64_t kTrellisBlock = 8;    // columns that share a step
constexpr int64_t kTrellisStates = 8;
constexpr int kTrellisSteps = 8;
constexpr int kTrellisMiddle = 16;          // the level that stands for 0
constexpr float kTrellisReach = 15.5f;      // steps: the levels are -16 to 15 of them
constexpr uint32_t kSmallestUnit = 101u << 23;  // 2^-26, as float32
constexpr float kTrellisLargest = 60.0f * kTrellisReach * kTrellisSteps;  // a weight that the largest unit reaches
constexpr int kUnitShift = 20;              // of a unit's byte to its place in a float32

// Columns of a block in the order of their codes.
constexpr int kTrellisOrder[kTrellisBlock] = {0, 4, 1, 5, 2, 6, 3, 7};

}  // namespace lichen
