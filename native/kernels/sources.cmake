# The kernels: one file for each operation and instruction set, each with that set's flags. Contraction
# is off everywhere, because a multiply and an add that one compiler fuses and another does not would
# change the result.
set(LICHEN_PORTABLE_FLAGS ${LICHEN_OPTIMIZATION} -ffp-contract=off -fno-lto)
set(LICHEN_AVX2_FLAGS ${LICHEN_PORTABLE_FLAGS} -mavx2 -mfma -mf16c)
set(LICHEN_AVX_VNNI_FLAGS ${LICHEN_AVX2_FLAGS} -mavxvnni)
set(LICHEN_AVX512_FLAGS
  ${LICHEN_AVX2_FLAGS} -mavx512f -mavx512bw -mavx512dq -mavx512vl -mprefer-vector-width=512)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # gcc 12's own AVX512 header sets it off (https://gcc.gnu.org/PR105593).
  list(APPEND LICHEN_AVX512_FLAGS -Wno-maybe-uninitialized -Wno-uninitialized)
  # Redundancy elimination keeps the sums of a tile twice, and then some of them in memory.
  list(APPEND LICHEN_AVX_VNNI_FLAGS -fno-tree-pre)
  list(APPEND LICHEN_AVX512_FLAGS -fno-tree-pre)
endif()
set(LICHEN_AVX512_VNNI_FLAGS ${LICHEN_AVX512_FLAGS} -mavx512vnni)
set(LICHEN_AVX512_BF16_FLAGS ${LICHEN_AVX512_VNNI_FLAGS} -mavx512bf16)
set(LICHEN_AMX_FLAGS ${LICHEN_AVX512_VNNI_FLAGS} -mamx-tile -mamx-int8 -mamx-bf16)
set(LICHEN_NEON_COMMON_FLAGS ${LICHEN_PORTABLE_FLAGS})
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # Else gcc moves all loads of a step to its front, and the tile does not fit the 32 registers.
  list(APPEND LICHEN_NEON_COMMON_FLAGS -fno-schedule-insns)
endif()
set(LICHEN_NEON_FLAGS ${LICHEN_NEON_COMMON_FLAGS} -march=armv8-a)
set(LICHEN_NEON_DOTPROD_FLAGS ${LICHEN_NEON_COMMON_FLAGS} -march=armv8.2-a+dotprod)
set(LICHEN_NEON_I8MM_FLAGS ${LICHEN_NEON_COMMON_FLAGS} -march=armv8.2-a+dotprod+i8mm)
list(APPEND LICHEN_PORTABLE_FLAGS -Wno-psabi)  # lanes are passed in memory there

set(LICHEN_KERNEL_SOURCES ${CMAKE_CURRENT_LIST_DIR}/dispatch.cpp)

# lichen_kernels(OPERATION ISA...): OPERATION/ISA.cpp with the flags of ISA.
function(lichen_kernels operation)
  set(sources ${LICHEN_KERNEL_SOURCES})
  foreach(isa IN LISTS ARGN)
    string(TOUPPER LICHEN_${isa}_FLAGS flags)
    set(source ${CMAKE_CURRENT_SOURCE_DIR}/native/kernels/${operation}/${isa}.cpp)
    set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "${${flags}}")
    list(APPEND sources ${source})
  endforeach()
  set(LICHEN_KERNEL_SOURCES ${sources} PARENT_SCOPE)
endfunction()

# lichen_newer_kernels(ISA INSTRUCTION): linear/ISA.cpp, where the compiler has its flags and its assembler an
# instruction of it. Elsewhere the set is left out, and no machine is said to have it.
include(CheckCXXSourceCompiles)
function(lichen_newer_kernels isa instruction)
  string(TOUPPER ${isa} name)
  list(JOIN LICHEN_${name}_FLAGS " " CMAKE_REQUIRED_FLAGS)
  check_cxx_source_compiles("int main() { asm volatile(\"${instruction}\"); }" LICHEN_HAS_${name})
  if(LICHEN_HAS_${name})
    lichen_kernels(linear ${isa})
    set(LICHEN_KERNEL_SOURCES ${LICHEN_KERNEL_SOURCES} PARENT_SCOPE)
  endif()
  set_property(SOURCE ${CMAKE_CURRENT_LIST_DIR}/dispatch.cpp ${CMAKE_CURRENT_SOURCE_DIR}/native/src/cpu.cpp
    ${CMAKE_CURRENT_SOURCE_DIR}/native/tests/cpu_test.cpp
    APPEND PROPERTY COMPILE_DEFINITIONS LICHEN_HAS_${name}=$<BOOL:${LICHEN_HAS_${name}}>)
endfunction()

foreach(operation linear attention elementwise matrix moment norm rounding)
  lichen_kernels(${operation} portable)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
    lichen_kernels(${operation} avx2 avx512)
  elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)$")
    lichen_kernels(${operation} neon)
  endif()
endforeach()
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
  lichen_kernels(linear avx512_vnni)
  lichen_kernels(moment avx512_vnni)
  lichen_newer_kernels(avx_vnni "{vex} vpdpbusd %ymm0, %ymm0, %ymm0")
  if(LICHEN_HAS_AVX_VNNI)
    lichen_kernels(moment avx_vnni)
  endif()
  lichen_newer_kernels(avx512_bf16 "vdpbf16ps %zmm0, %zmm0, %zmm0")
  lichen_newer_kernels(amx "tdpbf16ps %tmm2, %tmm1, %tmm0")
  if(LICHEN_HAS_AMX)
    lichen_kernels(attention amx)
  endif()
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)$")
  lichen_kernels(linear neon_dotprod neon_i8mm)
  lichen_kernels(moment neon_dotprod)
endif()

# The loops that find the machine's limits: of every set that has linear kernels here.
foreach(source IN LISTS LICHEN_KERNEL_SOURCES)
  if(source MATCHES "/linear/([a-z0-9_]+)\\.cpp$")
    lichen_kernels(peak ${CMAKE_MATCH_1})
  endif()
endforeach()
