# The kernels that are written in sixteen float32 lanes: one file for each operation and instruction
# set, with that set's flags from linear/sources.cmake.
set(LICHEN_VECTOR_SOURCES ${CMAKE_CURRENT_LIST_DIR}/dispatch.cpp)
set(LICHEN_PORTABLE_FLAGS ${LICHEN_KERNEL_FLAGS} -Wno-psabi)  # vectors are passed in memory there

set(isas portable)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
  list(APPEND isas avx2 avx512)
endif()
foreach(isa IN LISTS isas)
  string(TOUPPER LICHEN_${isa}_FLAGS flags)
  foreach(operation attention elementwise norm)
    set(source ${CMAKE_CURRENT_LIST_DIR}/../${operation}/${isa}.cpp)
    list(APPEND LICHEN_VECTOR_SOURCES ${source})
    set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "${${flags}}")
  endforeach()
endforeach()
