# The linear kernels. Each instruction set's file gets its own flags; contraction is off everywhere,
# because a multiply and an add that one compiler fuses and another does not would change the result.
set(LICHEN_LINEAR_SOURCES
  ${CMAKE_CURRENT_LIST_DIR}/../dispatch.cpp
  ${CMAKE_CURRENT_LIST_DIR}/portable.cpp
  ${CMAKE_CURRENT_LIST_DIR}/../../src/cpu.cpp
  ${CMAKE_CURRENT_LIST_DIR}/../../src/linear.cpp
  ${CMAKE_CURRENT_LIST_DIR}/../../src/memory.cpp
  ${CMAKE_CURRENT_LIST_DIR}/../../src/threads.cpp)

set(LICHEN_KERNEL_FLAGS -O3 -ffp-contract=off -fno-lto)
set(LICHEN_AVX2_FLAGS ${LICHEN_KERNEL_FLAGS} -mavx2 -mfma -mf16c)
set(LICHEN_AVX512_FLAGS
  ${LICHEN_AVX2_FLAGS} -mavx512f -mavx512bw -mavx512dq -mavx512vl -mprefer-vector-width=512)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # gcc 12's own AVX512 header sets it off (https://gcc.gnu.org/PR105593).
  list(APPEND LICHEN_AVX512_FLAGS -Wno-maybe-uninitialized -Wno-uninitialized)
endif()
set(LICHEN_AVX512_VNNI_FLAGS ${LICHEN_AVX512_FLAGS} -mavx512vnni)

set_source_files_properties(${CMAKE_CURRENT_LIST_DIR}/portable.cpp
  PROPERTIES COMPILE_OPTIONS "${LICHEN_KERNEL_FLAGS}")

if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
  foreach(isa avx2 avx512 avx512_vnni)
    string(TOUPPER LICHEN_${isa}_FLAGS flags)
    list(APPEND LICHEN_LINEAR_SOURCES ${CMAKE_CURRENT_LIST_DIR}/${isa}.cpp)
    set_source_files_properties(${CMAKE_CURRENT_LIST_DIR}/${isa}.cpp
      PROPERTIES COMPILE_OPTIONS "${${flags}}")
  endforeach()
endif()
